"""How a bucket stands, as its metadata say. Plain data.

Whether copies are good is known from reading: ``automator67 bucket verify`` and every read note what is bad or missing.
"""

from __future__ import annotations

from dataclasses import dataclass

NEARLY_FULL = 0.9


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """``files`` that can be seen and the ``bytes`` of all versions; ``short``: pieces with fewer good copies than the
    bucket wants; ``lost``: pieces without any; ``held``: by provider the bytes there; ``quota`` in bytes, 0 for none.
    """

    name: str
    files: int = 0
    bytes: int = 0
    short: int = 0
    lost: int = 0
    held: tuple[tuple[str, int], ...] = ()
    quota: int = 0

    @property
    def state(self) -> str:
        """Return ``lost``, ``degraded``, ``full`` or ``healthy``."""
        if self.lost:
            return "lost"
        if self.short:
            return "degraded"
        return "full" if self.quota and self.bytes >= NEARLY_FULL * self.quota else "healthy"

    @property
    def wrong(self) -> str:
        """Return in a line, that stays the same while the state does, what is wrong and what helps; or nothing."""
        return {
            "lost": f"parts of files have no good copy left: automator67 bucket verify {self.name} names them",
            "degraded": f"copies are missing: automator67 bucket repair {self.name} makes them anew",
            "full": f"more than {NEARLY_FULL:.0%} of its quota is used: raise quota, or delete files",
            "healthy": "",
        }[self.state]
