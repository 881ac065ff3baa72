"""Whether a password fits its Argon2 hash, remembering for a while which did: one costs 50 ms of a core and 64 MiB."""

from __future__ import annotations

import hashlib
import hmac
import os
import time

KEEP_SECONDS = 600.0
MOST = 1024


class Passwords:
    """``fits`` may be called from several threads. What is remembered is keyed by a secret of this process."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._known: dict[bytes, float] = {}

    def remembered(self, hashed: str, password: str) -> bool:
        """Return whether this password was seen to fit a short while ago."""
        return self._known.get(self._name(hashed, password), 0.0) > time.monotonic()

    def fits(self, hashed: str, password: str) -> bool:
        """Return whether a password fits a hash; a hash that cannot be read fits nothing."""
        if self.remembered(hashed, password):
            return True
        from argon2 import PasswordHasher
        from argon2.exceptions import Argon2Error

        try:
            PasswordHasher().verify(hashed, password)
        except (Argon2Error, ValueError):
            return False
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[self._name(hashed, password)] = time.monotonic() + KEEP_SECONDS
        return True

    def _name(self, hashed: str, password: str) -> bytes:
        return hmac.digest(self._key, hashlib.sha256(hashed.encode()).digest() + password.encode(), "sha256")
