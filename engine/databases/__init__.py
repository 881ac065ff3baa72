"""Databases that a provider makes for shards, and where they are reached."""
