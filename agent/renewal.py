"""Keeps this node's certificate fresh: asks for a new one at two thirds of its life, or when it is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from automator67.agent.helper import Helper
from automator67.agent.link import Link, LinkError
from automator67.agent.retry import chance, request_delay

_TIMEOUT = 20.0
_SHORTEST_RETRY, _LONGEST_RETRY = 5.0, 900.0


class Renewal:
    """For the main thread. ``post`` gets ("renewed", answer or None, error), to be handed to ``take_answer``.

    The worker's answers to the jobs tagged ("renewal",) and ("install",) go to ``take_request`` and ``take_installed``.
    """

    def __init__(
        self, link: Link, helper: Helper, state: str, name: str, post: Callable[[tuple[Any, ...]], None]
    ) -> None:
        self._link, self._helper, self._state, self._name, self._post = link, helper, state, name, post
        self._from = self._until = 0.0
        self._due = float("inf")
        self._running = False
        self._failures = 0
        self._not_before = 0.0

    def set_validity(self, valid: tuple[float, float]) -> None:
        """Take up from when until when the certificate is valid (seconds since the epoch by the engine's clock)."""
        self._from, self._until = valid
        self._due = self._from + (self._until - self._from) * (0.64 + 0.05 * chance())

    def want(self) -> None:
        """Renew as soon as possible: the engine asks for it, or refuses the certificate."""
        self._due = 0.0

    def tick(self, now: float, engine_time: float) -> float:
        """Begin a renewal when it is due; return when to look again (``now``: monotonic seconds)."""
        if self._running:
            return float("inf")
        if now < self._not_before:
            return self._not_before
        if engine_time < self._due:
            return now + min(self._due - engine_time, 3600.0)
        self._running = True
        self._helper.submit("renewal", {"state": self._state, "name": self._name}, ("renewal",), 30.0)
        return float("inf")

    def take_request(self, ok: bool, result: Any, error: str) -> None:
        """Send the request that the worker made."""
        if not ok:
            self._fail(error)
            return
        doc = {"proto": 1, **result}
        threading.Thread(target=self._ask, args=(doc,), daemon=True).start()

    def take_answer(self, answer: dict[str, Any] | None, error: str) -> str:
        """Have the worker install the certificate; return what is to be said, if anything."""
        if answer is None:
            return self._fail(error)
        args = {"state": self._state, "certificate": answer["certificate"], "ca": answer.get("ca", "")}
        self._helper.submit("install", args, ("install",), 30.0)
        return ""

    def take_installed(self, ok: bool, result: Any, error: str) -> str:
        """Take up the new certificate; return what is to be said. The caller lets the connections be made anew."""
        if not ok:
            return self._fail(error)
        self._running, self._failures = False, 0
        self._not_before = time.monotonic() + _SHORTEST_RETRY
        self.set_validity((float(result[0]), float(result[1])))
        self._link.reload()
        return f"the certificate is renewed until {time.strftime('%Y-%m-%d %H:%M', time.gmtime(self._until))} UTC"

    def _fail(self, why: str) -> str:
        self._running = False
        self._failures += 1
        delay = request_delay(self._failures, _SHORTEST_RETRY, _LONGEST_RETRY, chance())
        self._not_before = time.monotonic() + delay
        return f"the certificate could not be renewed: {why}"

    def _ask(self, doc: dict[str, Any]) -> None:
        # Without our certificate: an expired one would not get through the handshake. The signature is the proof.
        answer, error = None, "the engine's answer holds no certificate"
        try:
            answer = self._link.once("POST", "/v1/renew", doc, _TIMEOUT, anonymous=True)
        except LinkError as e:
            error = str(e)
        good = isinstance(answer, dict) and isinstance(answer.get("certificate"), str)
        self._post(("renewed", answer if good else None, error))
