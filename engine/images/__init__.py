"""Where images come from: registries, git sources, what a name means today."""
