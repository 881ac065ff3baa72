"""Apps: rollout and revisions."""
