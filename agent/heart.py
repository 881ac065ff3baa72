"""Sends heartbeats from a thread of its own, so that a silent network never holds the node's work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from automator67.agent.http1 import Connection, HttpError
from automator67.agent.link import Link, LinkError
from automator67.agent.retry import chance, reconnect_delay

Post = Callable[[tuple[Any, ...]], None]

_TIMEOUT = 20.0
# Between two heartbeats, however much changes.
_SHORTEST_GAP = 0.2
_LINGER = 0.02
# A revoked node asks this seldom whether it is still revoked.
REVOKED_DELAY = 300.0


class Heart(threading.Thread):
    """Sends the newest report when asked and posts ("beat due",) when it is time for the next.

    What comes back is posted as ("beat", answer, report) or ("trouble", LinkError).
    """

    def __init__(self, link: Link, next_seq: Callable[[], int], post: Post, patience: float) -> None:
        """``patience``: the longest time between two attempts to reach the engine, in seconds."""
        super().__init__(name="heart", daemon=True)
        self._link, self._next_seq, self._post, self._patience = link, next_seq, post, patience
        self._changed = threading.Condition()
        self._report: dict[str, Any] | None = None
        self._renewed = self._hurried = False
        self._conn: Connection | None = None

    def send(self, report: dict[str, Any]) -> None:
        """Send this report soon; it replaces one that has not been sent yet."""
        with self._changed:
            self._report = report
            self._changed.notify()

    def renew(self) -> None:
        """Connect anew: there is a new certificate."""
        with self._changed:
            self._renewed = True
            self._changed.notify()

    def hurry(self) -> None:
        """Try again now: the engine has just answered elsewhere."""
        with self._changed:
            self._hurried = True
            self._changed.notify()

    def run(self) -> None:
        """Beat for ever."""
        failures = 0
        next_due = 0.0
        while True:
            report = self._take(next_due)
            began = time.monotonic()
            try:
                answer = self._beat(report)
            except LinkError as e:
                self._drop()
                failures += 1
                self._post(("trouble", e))
                revoked = e.trouble == "revoked"
                delay = REVOKED_DELAY if revoked else max(0.05, reconnect_delay(failures, chance(), self._patience))
                if e.status == 429:
                    delay = max(delay, 2.0)
                self._put_back(report)
                self._rest(delay, revoked=revoked, hurried=not revoked and e.status != 429)
                continue
            failures = 0
            self._post(("beat", answer, report))
            every = _seconds(answer.get("next_s"), 30.0)
            next_due = began + every * (0.9 + 0.2 * chance())
            self._rest(max(0.0, began + _SHORTEST_GAP - time.monotonic()))

    def _take(self, next_due: float) -> dict[str, Any]:
        """Wait for a report; ask for one when the next heartbeat is due."""
        asked = False
        with self._changed:
            while self._report is None:
                left = next_due - time.monotonic()
                if left <= 0 and not asked:
                    asked = True
                    self._post(("beat due",))
                self._changed.wait(left if not asked else None)
            if not asked:
                # What changes together is told together: started, and healthy at the first probe.
                self._changed.wait(_LINGER)
            report, self._report = self._report, None
            return report

    def _put_back(self, report: dict[str, Any]) -> None:
        with self._changed:
            if self._report is None:
                self._report = report

    def _rest(self, seconds: float, *, revoked: bool = False, hurried: bool = False) -> None:
        """Wait; a new certificate ends the wait of the ``revoked``, an answer elsewhere one that may be ``hurried``."""
        until = time.monotonic() + seconds
        with self._changed:
            self._hurried = False
            while (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
                if (self._renewed and revoked) or (self._hurried and hurried):
                    return

    def _beat(self, report: dict[str, Any]) -> dict[str, Any]:
        if self._renewed:
            self._renewed = False
            self._drop()
        fresh = self._conn is None
        try:
            return self._exchange(report)
        except LinkError as e:
            # A connection kept open may have been closed in the meantime: that is no failure of the engine.
            if fresh or e.status:
                raise
            self._drop()
            return self._exchange(report)

    def _exchange(self, report: dict[str, Any]) -> dict[str, Any]:
        if self._conn is None:
            self._conn = self._link.connect()
        stamped = report | {
            "seq": self._next_seq(),
            "sent": round(time.clock_gettime(time.CLOCK_BOOTTIME), 3),
            "clock": round(time.time(), 3),
        }
        try:
            answer = self._link.request(self._conn, "POST", "/v1/heartbeat", stamped, _TIMEOUT).json()
        except HttpError as e:
            raise LinkError("answer", str(e)) from None
        if not isinstance(answer, dict):
            raise LinkError("answer", "the engine's answer to a heartbeat is not an object")
        return answer | {"sent": stamped["sent"]}

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None


def _seconds(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and 0.05 <= value <= 3600 else default
