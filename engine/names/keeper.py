"""Keeps the records of one zone at one provider, in a thread of its own, until it is closed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from automator67.engine.apis.client import ApiError
from automator67.engine.names.wanted import Changes, Wanted

log = logging.getLogger("automator67.names")

LOOK_SECONDS = 300.0
"""How long until a zone is compared again when nothing has changed here."""
RETRY_SECONDS = (5.0, 300.0)


class Zone(Protocol):
    """A provider's zone."""

    def follow(self, want: Wanted) -> Changes:
        """Bring it to what is wanted; return what was done. Raises ApiError."""

    def close(self) -> None:
        """Let go of the connection; a call that waits ends soon."""


class Desk(Protocol):
    """What a keeper tells the engine."""

    def report(self, node: str, message: Mapping[str, Any]) -> None:
        """Take a report of a node that is well."""

    def unreachable(self, node: str, why: str) -> None:
        """Take notice that a node cannot be used."""

    def beat(self) -> float:
        """Return how many seconds may pass between two reports."""


class Keeper:
    """One zone and its thread. ``name`` is that of its node."""

    def __init__(self, name: str, zone: Zone, desk: Desk, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._zone, self._desk, self._monotonic = zone, desk, monotonic
        self._want: Wanted | None = None
        self._done: Wanted | None = None
        self._due, self._failures, self._seq = 0.0, 0, 0
        self._conditions: tuple[str, ...] = ()
        self._closed, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"names-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def want(self, want: Wanted) -> None:
        """Say what should be there."""
        if want != self._want:
            self._want = want
            self._wake.set()

    def close(self) -> None:
        """Stop; the records stay."""
        self._closed.set()
        self._wake.set()
        self._zone.close()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(seconds)

    def turn(self) -> None:
        """Compare the zone if that is due, and report."""
        want, now = self._want, self._monotonic()
        if want is None:
            return
        if now >= self._due or (want != self._done and not self._failures):
            try:
                did = self._zone.follow(want)
            except ApiError as error:
                self._failures += 1
                pause = min(RETRY_SECONDS[1], RETRY_SECONDS[0] * 2 ** (self._failures - 1))
                self._due = now + max(pause, min(error.retry_after or 0.0, RETRY_SECONDS[1]))
                if not self._closed.is_set():
                    self._desk.unreachable(self.name, str(error))
                return
            self._done, self._failures, self._due = want, 0, now + LOOK_SECONDS
            foreign = (f"{name} has records that are not ours: they are left as they are" for name in did.foreign)
            self._conditions = (*want.troubles, *foreign)
            for verb, records in (("added", did.add), ("removed", did.remove)):
                for record in records:
                    log.info("%s: %s %s %s %s", self.name, verb, record.name, record.type, record.content)
        if not self._failures:
            self._report()

    def _report(self) -> None:
        self._seq += 1
        self._desk.report(self.name, {
            "proto": 1, "boot_id": f"names-{self.name}", "seq": self._seq, "clock": 0.0, "rev_applied": "",
            "runtimes": {}, "instances": [], "foreign": [], "capacity": {},
            "conditions": [c[:200] for c in self._conditions][:32],
        })  # fmt: skip

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self.turn()
            except Exception:
                # One provider must not take the others along, whatever it answers.
                log.exception("names of %s: a turn failed", self.name)
                self._due = self._monotonic() + RETRY_SECONDS[1]
            self._wake.wait(min(self._desk.beat(), 30.0))
            self._wake.clear()
