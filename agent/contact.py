"""Being in contact with the engine: heartbeats up, the wake-up of a push down. For the main thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from automator67.agent.heart import Heart
from automator67.agent.link import Link, LinkError
from automator67.agent.renewal import Renewal
from automator67.agent.retry import longest_reconnect
from automator67.agent.wakeup import WakeUp


class Contact:
    """Both ways of talking to the engine, and what their answers say of the engine and of this node.

    ``clock_offset`` is how far the engine's clock is ahead of this node's, in seconds.
    """

    def __init__(
        self,
        link: Link,
        renewal: Renewal,
        next_seq: Callable[[], int],
        post: Callable[[tuple[Any, ...]], None],
        say: Callable[[str], None],
        heartbeat: float,
    ) -> None:
        self._link, self._renewal, self._post, self._say = link, renewal, post, say
        self._patience = longest_reconnect(heartbeat)
        self._heart = Heart(link, next_seq, post, self._patience)
        self._wakeup: WakeUp | None = None
        self._trouble = ""
        self.clock_offset = 0.0

    @property
    def is_open(self) -> bool:
        """Whether talking has begun."""
        return self._wakeup is not None

    def open(self, rev: str) -> None:
        """Begin to talk; ``rev`` is the desired revision that this node knows, empty for none."""
        self._wakeup = WakeUp(self._link, rev, self._post, self._patience)
        self._wakeup.start()
        self._heart.start()

    def send(self, report: dict[str, Any]) -> None:
        """Send a report as soon as possible."""
        self._heart.send(report)

    def renew(self) -> None:
        """Connect anew with a new certificate."""
        self._heart.renew()
        if self._wakeup is not None:
            self._wakeup.reconnect()

    def check(self, now: float) -> None:
        """See to it that a wake-up that something holds back does not hold back the work."""
        if self._wakeup is not None:
            self._wakeup.check(now)

    def heard(self) -> None:
        """The engine has answered the wake-up: after trouble, heartbeats are tried again at once."""
        if self._trouble:
            self._heart.hurry()

    def answered(self, answer: dict[str, Any]) -> None:
        """Take up the answer to a heartbeat."""
        if self._trouble:
            self._say("the engine answers again")
            self._trouble = ""
            if self._wakeup is not None:
                self._wakeup.reconnect()
        if isinstance(answer.get("server_time"), int | float):
            self.clock_offset = answer["server_time"] - time.time()
        if answer.get("renew"):
            self._renewal.want()
        if self._wakeup is not None and isinstance(answer.get("rev"), str) and answer["rev"]:
            self._wakeup.expect(answer["rev"], time.monotonic())

    def trouble(self, e: LinkError) -> None:
        """Take up that the engine could not be talked to; the same trouble is said once."""
        text = str(e)
        if e.trouble == "revoked":
            text = f"this node is revoked: {text}; apps keep running; asking again every 5 minutes"
        if text != self._trouble:
            self._say(text)
            self._trouble = text
        if e.trouble == "refused":
            self._renewal.want()
