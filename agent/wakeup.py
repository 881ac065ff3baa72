"""Holds a request at the engine that is answered when the desired state changes: the wake-up of a push."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from automator67.agent.docker_http import percent
from automator67.agent.heart import REVOKED_DELAY
from automator67.agent.http1 import Connection, HttpError
from automator67.agent.link import Link, LinkError
from automator67.agent.retry import chance, reconnect_delay

_WAIT = 50
_DEADLINE = 60.0
# After an answer that brought nothing new (a task that still waits), so that it is not asked in a circle.
_PAUSE = 0.5
_OVERDUE = 3.0


class WakeUp(threading.Thread):
    """Posts ("desired", document, raw text) for each new desired state and for tasks, ("trouble", LinkError) else."""

    def __init__(self, link: Link, rev: str, post: Callable[[tuple[Any, ...]], None], patience: float) -> None:
        """``patience``: the longest time between two attempts to reach the engine, in seconds."""
        super().__init__(name="wakeup", daemon=True)
        self._link, self._post, self._patience = link, post, patience
        self._rev = rev
        self._conn: Connection | None = None
        self._expected_since = 0.0
        self._kicked = threading.Event()

    def expect(self, rev: str, now: float) -> None:
        """Take up which revision the engine has, as a heartbeat's answer says."""
        if rev == self._rev:
            self._expected_since = 0.0
        elif not self._expected_since:
            self._expected_since = now

    def check(self, now: float) -> None:
        """Ask anew if a new revision has long been known and not come: something on the way holds it back."""
        if self._expected_since and now - self._expected_since > _OVERDUE:
            self._expected_since = 0.0
            self.reconnect()

    def reconnect(self) -> None:
        """Ask again on a new connection; from any thread."""
        self._kicked.set()
        conn = self._conn
        if conn is not None:
            conn.interrupt()

    def run(self) -> None:
        """Ask for ever."""
        failures = idle = 0
        while True:
            try:
                idle = 0 if self._ask() else idle + 1
            except LinkError as e:
                self._drop()
                if self._kicked.is_set():
                    self._kicked.clear()
                    continue
                failures += 1
                self._post(("trouble", e))
                usual = max(0.05, reconnect_delay(failures, chance(), self._patience))
                delay = REVOKED_DELAY if e.trouble == "revoked" else usual
                self._kicked.wait(delay)
                self._kicked.clear()
                continue
            failures = 0
            if idle > 1:
                self._kicked.wait(_PAUSE)
            self._kicked.clear()

    def _ask(self) -> bool:
        """Ask once; return whether the answer brought something new or came as late as it may."""
        kept = self._conn is not None
        try:
            return self._exchange()
        except LinkError as e:
            if not kept or e.status or self._kicked.is_set():
                raise
            self._drop()
            return self._exchange()

    def _exchange(self) -> bool:
        if self._conn is None:
            self._conn = self._link.connect()
        began = time.monotonic()
        target = f"/v1/desired?rev={percent(self._rev)}&wait={_WAIT}"
        reply = self._link.request(self._conn, "GET", target, None, _DEADLINE)
        late = time.monotonic() - began > 1.0
        if reply.status == 304:
            return late
        try:
            doc = reply.json()
        except HttpError as e:
            raise LinkError("answer", str(e)) from None
        if not isinstance(doc, dict):
            raise LinkError("answer", "the engine's desired state is not an object")
        rev = str(doc.get("rev", ""))
        new = rev != self._rev and "instances" in doc
        if new:
            self._rev, self._expected_since = rev, 0.0
        self._post(("desired", doc, reply.body))
        return new or late

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None
