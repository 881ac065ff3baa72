"""Keeps one thing at a provider as it should be, in a thread of its own, until it is closed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from automator67.engine.apis.client import ApiError

log = logging.getLogger("automator67.providers")

W = TypeVar("W")
LOOK_SECONDS = 300.0
"""How long until the provider is looked at again when nothing has changed here."""
RETRY_SECONDS = (5.0, 300.0)
LONGEST_PAUSE = 30.0
"""How often it is said that all is well."""


class Desk(Protocol):
    """What a keeper tells the engine."""

    def report(self, node: str, message: Mapping[str, Any]) -> None:
        """Take a report of a node that is well."""

    def unreachable(self, node: str, why: str) -> None:
        """Take notice that a node cannot be used."""

    def beat(self) -> float:
        """Return how many seconds may pass between two reports."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a provider says was used of an account: bytes sent within a period, bytes stored now.

    ``period``: when it begins and ends, seconds since the epoch.
    """

    egress: float
    storage: float
    period: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a look: what a person should know, and after how many seconds to look again."""

    conditions: tuple[str, ...] = ()
    again: float = LOOK_SECONDS
    used: Used | None = None


class Keeper(Generic[W]):
    """``follow(want)`` makes it so, and may raise ApiError; ``close()`` ends its calls. ``name`` is the node's."""

    def __init__(
        self,
        name: str,
        follow: Callable[[W], Done],
        close: Callable[[], None],
        desk: Desk,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._follow, self._close, self._desk, self._monotonic = follow, close, desk, monotonic
        self._want: W | None = None
        self._kept: W | None = None
        self._done = Done()
        self._due, self._failures, self._seq = 0.0, 0, 0
        self._closed, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"keeper-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def want(self, want: W) -> None:
        """Say what should be there."""
        if want != self._want:
            self._want = want
            self._wake.set()

    def close(self) -> None:
        """Stop; what is there stays."""
        self._closed.set()
        self._wake.set()
        self._close()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(seconds)

    def turn(self) -> None:
        """Look if that is due, and report."""
        want, now = self._want, self._monotonic()
        if want is None:
            return
        if now >= self._due or (want != self._kept and not self._failures):
            try:
                self._done = self._follow(want)
            except ApiError as error:
                self._failures += 1
                pause = min(RETRY_SECONDS[1], RETRY_SECONDS[0] * 2 ** (self._failures - 1))
                self._due = now + max(pause, min(error.retry_after or 0.0, RETRY_SECONDS[1]))
                if not self._closed.is_set():
                    self._desk.unreachable(self.name, str(error))
                return
            self._kept, self._failures, self._due = want, 0, now + self._done.again
        if not self._failures:
            self._report()

    def _report(self) -> None:
        self._seq += 1
        used = self._done.used
        counted = {"usage": {"egress": used.egress, "disk": used.storage}, "period": list(used.period)} if used else {}
        self._desk.report(self.name, {
            "proto": 1, "boot_id": f"keeper-{self.name}", "seq": self._seq, "clock": 0.0, "rev_applied": "",
            "runtimes": {}, "instances": [], "foreign": [], "capacity": {},
            "conditions": [c[:200] for c in self._done.conditions][:32],
            **counted,
        })  # fmt: skip

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self.turn()
            except Exception:
                # One provider must not take the others along, whatever it answers.
                log.exception("%s: a turn failed", self.name)
                self._due = self._monotonic() + RETRY_SECONDS[1]
            soon = max(0.1, self._due - self._monotonic()) if self._want is not None else LONGEST_PAUSE
            self._wake.wait(min(self._desk.beat(), LONGEST_PAUSE, soon))
            self._wake.clear()
