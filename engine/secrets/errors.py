"""What goes wrong with a secret."""

from __future__ import annotations


class SecretError(Exception):
    """A secret cannot be had: one line for a person, saying why and what to do. It never holds a value."""
