"""The config repository: mirror, commits, trees, signatures."""
