"""Backups of volumes: what is due, where it goes."""
