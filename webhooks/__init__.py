"""Receives webhooks: verify, deduplicate, enqueue; nothing else."""
