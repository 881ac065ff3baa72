"""Looks from time to time how the buckets stand that the newest commit declares."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from automator67.engine.bucket_facts import BucketFacts
from automator67.engine.buckets.condition import condition
from automator67.engine.buckets.rules import rules_of
from automator67.engine.desired import Desired

log = logging.getLogger("automator67.buckets")

EVERY_SECONDS = 10.0
SHARE = 0.02
"""How much of the time looking may take: large buckets are looked at less often."""


class BucketWatch:
    """Used from one thread at a time. ``facts`` are those of the last look."""

    def __init__(self, state: Path, clock: Callable[[], float]) -> None:
        self._state, self._clock = state, clock
        self._due, self._seen = 0.0, ""
        self.facts: tuple[BucketFacts, ...] = ()

    def tick(self, desired: Desired | None) -> bool:
        """Look, if it is time or there is another commit; return whether any stands otherwise than before."""
        if desired is None or (self._clock() < self._due and desired.commit == self._seen):
            return False
        began = self._clock()
        before = {one.name: one.state for one in self.facts}
        found = []
        for other in desired.others:
            if other.kind == "bucket":
                try:
                    one = condition(self._state, rules_of(other.name, other.document))
                except sqlite3.Error as error:
                    log.warning("bucket %s: its metadata cannot be read: %s", other.name, error)
                    one = next((f for f in self.facts if f.name == other.name), None)
                if one is not None:
                    found.append(one)
        self.facts, took = tuple(found), self._clock() - began
        self._due, self._seen = began + max(EVERY_SECONDS, took / SHARE), desired.commit
        return before != {one.name: one.state for one in found}
