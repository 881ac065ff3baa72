"""Sealed files for tests: real ones, to a key of this test run."""

from __future__ import annotations

from functools import cache

from automator67.engine.secrets.keys import PrivateKey
from automator67.engine.secrets.sealing import seal


@cache
def sealing_key() -> PrivateKey:
    """Return the key that ``sealed`` seals to."""
    return PrivateKey.new()


@cache
def sealed(name: str, value: str = "a value", cloud: str = "home") -> str:
    """Return a sealed file for secret ``name``."""
    return seal(sealing_key().public, cloud, name, value.encode())
