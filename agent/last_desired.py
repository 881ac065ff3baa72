"""The last desired state, kept sealed on disk so that a restart without the engine goes on with it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from automator67.agent.desired import DesiredError, keep_known, parse
from automator67.agent.helper import Answer, Helper
from automator67.agent.model import Desired
from automator67.agent.state import Membership

_RETRY = 30.0
_PATIENCE = 60.0


class LastDesired:
    """For the main thread. The worker's answers to the jobs tagged ("open",) and ("seal",) go to ``opened`` and
    ``sealed``."""

    def __init__(self, helper: Helper, state: str, member: Membership, say: Callable[[str], None]) -> None:
        self._helper, self._state, self._member, self._say = helper, state, member, say
        self._about = f"desired state of {member.cloud}/{member.node}"
        self._raw = b""
        self._sealing = b""
        self._again = float("inf")
        self.problem = ""

    @property
    def kept(self) -> bool:
        """Whether writing the present desired state is over, well or not: only then is anything removed for it."""
        return not self._sealing

    def open(self) -> None:
        """Have the worker open what the last agent kept."""
        self._helper.submit("open", {"state": self._state, "about": self._about}, ("open",), _PATIENCE)

    def opened(self, answer: Answer) -> Desired | None:
        """Return what was last desired; None when that is not known."""
        problem = answer.error if not answer.ok else answer.result["problem"]
        if answer.ok and answer.result["plain"]:
            self._raw = answer.result["plain"].encode()
            try:
                desired = self._checked(json.loads(self._raw))
            except (ValueError, DesiredError) as e:
                problem = str(e)
            else:
                self._say(f"keeping what was last desired (revision {desired.rev}) until the engine says otherwise")
                return desired
        if problem:
            self._say(f"the last desired state cannot be used: {problem}; waiting for the engine")
        return None

    def take(self, doc: object, raw: bytes, before: Desired | None) -> Desired | None:
        """Return a new desired state of the engine and begin to keep it; None when it is the present one.

        Raises DesiredError: then nothing has changed.
        """
        desired = self._checked(doc)
        if before is not None:
            if desired.rev == before.rev:
                return None
            desired = keep_known(desired, before)
        self._raw = raw
        self._seal()
        return desired

    def sealed(self, answer: Answer) -> None:
        """Take up that writing is over; write again what has come in the meantime."""
        written, self._sealing = self._sealing, b""
        self.problem = answer.error if not answer.ok else ""
        if self._raw != written:
            self._seal()
        elif not answer.ok:
            self._again = time.monotonic() + _RETRY

    def tick(self, now: float) -> None:
        """Try again what could not be written."""
        if now >= self._again:
            self._seal()

    def _seal(self) -> None:
        self._again = float("inf")
        # One at a time: the worker does several jobs at once, and the older must not end up as the last.
        if not self._sealing:
            self._sealing = self._raw
            args = {"state": self._state, "about": self._about, "plain": self._raw.decode()}
            self._helper.submit("seal", args, ("seal",), _PATIENCE)

    def _checked(self, doc: object) -> Desired:
        desired = parse(doc)
        if (desired.cloud, desired.node) != (self._member.cloud, self._member.node):
            raise DesiredError(f"it is for node {desired.node} of cloud {desired.cloud}")
        return desired
