"""Secrets: sealing and opening them, handing them to nodes, and keeping them out of everything people read."""
