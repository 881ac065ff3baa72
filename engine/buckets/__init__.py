"""Buckets: files cut, sealed and kept on several providers."""
