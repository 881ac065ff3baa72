"""Delivers what the outbox of alerts holds, beside the passes: each target in its own time, its messages in order.

A message is marked as sent after the target has taken it: an engine that is killed in between sends it once more, with
the same id. A target that does not take one is asked again later, and its later messages wait behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random

from automator67.engine import crash
from automator67.engine.alerts.rules import Target
from automator67.engine.alerts.targets import SendFailed, send
from automator67.engine.backoff import delay
from automator67.engine.breaker import Breaker, BreakerOpen, Breakers
from automator67.engine.clock import steady_now
from automator67.engine.secrets.errors import SecretError
from automator67.engine.store.alerts import NEVER, Outgoing, not_sent, sent, waiting
from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.turns import Turns

log = logging.getLogger("automator67.alerts")

LONGEST_SLEEP = 60.0
GIVE_UP_SECONDS = 3 * 86400.0
"""A message that no one took for so long tells nothing new."""
AT_ONCE = 8
"""How many targets are spoken to at the same time."""


class Herald:
    """The thread that delivers. ``secret(name)`` returns a secret's value, or raises SecretError.

    ``ready()``: whether secrets can be opened yet; before that nobody is told anything.
    """

    def __init__(
        self, store: Store, secret: Callable[[str], str], ready: Callable[[], bool], breakers: Breakers,
        clock: Callable[[], float] = steady_now,
    ) -> None:  # fmt: skip
        self._store, self._secret, self._ready, self._clock = store, secret, ready, clock
        self._breakers = breakers
        self._before: dict[str, Breaker] = {}
        self._random = Random()  # noqa: S311
        self._busy: dict[str, Future[None]] = {}
        self._pool = ThreadPoolExecutor(AT_ONCE, "alert")
        self._turns = Turns("herald", self._turn)

    def start(self) -> None:
        """Begin to deliver."""
        self._turns.start()

    def wake(self) -> None:
        """Look into the outbox now."""
        self._turns.wake()

    def stop(self) -> None:
        """End; what is left stays in the outbox."""
        self._turns.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _turn(self) -> float:
        """Begin to deliver what is due; return how long to sleep."""
        if not self._ready():
            return 0.5
        try:
            with self._store.read() as tx:
                all_waiting = waiting(tx)
        except StoreUnavailable as error:
            log.warning("alerts wait: %s", error)
            return 2.0
        first: dict[str, tuple[Outgoing, float]] = {}
        for message, due in all_waiting:
            first.setdefault(message.target, (message, due))
        now, soonest = self._clock(), LONGEST_SLEEP
        for target, (message, due) in first.items():
            if target in self._busy and not self._busy[target].done():
                continue
            if due <= now:
                self._busy[target] = self._pool.submit(self._deliver, message)
            else:
                soonest = min(soonest, due - now)
        return max(0.05, soonest)

    def _deliver(self, message: Outgoing) -> None:
        try:
            self._try(message)
        except StoreUnavailable as error:
            log.warning("what %s was told cannot be recorded: %s", message.target, error)
        except Exception:
            # A defect in one plugin must not end the alerts of all targets.
            log.exception("telling %s failed", message.target)
            self._put_off(message, SendFailed("it cannot be spoken to: see the engine's log", permanent=True))
        finally:
            self.wake()

    def _try(self, message: Outgoing) -> None:
        if message.target not in self._before:
            self._before[message.target] = self._breakers.before(f"alert/{message.target}", message.target)
        try:
            url = Target(**message.doc["to"]).opened(self._secret)
            with self._before[message.target].call(_theirs):
                send(url, message.doc["message"])
        except BreakerOpen as closed:
            self._put_off(message, SendFailed(str(closed), retry_after=closed.wait))
        except SecretError as error:
            self._put_off(message, SendFailed(str(error), permanent=True))
        except SendFailed as failure:
            self._put_off(message, failure)
        else:
            crash.point("alert-sent")
            with self._store.begin() as tx:
                sent(tx, message.id, self._clock())
            log.info("told %s: %s", message.target, message.doc["message"]["title"])

    def _put_off(self, message: Outgoing, failure: SendFailed) -> None:
        now = self._clock()
        next_at = now + delay(message.attempts + 1, failure.retry_after, failure.permanent, self._random)
        if now - message.made_at > GIVE_UP_SECONDS:
            next_at = NEVER
        with self._store.begin() as tx:
            not_sent(tx, message.id, str(failure), next_at)
        word = "is given up on" if next_at == NEVER else "is asked again"
        log.warning("%s was not told and %s: %s", message.target, word, failure)


def _theirs(error: Exception) -> bool:
    """Whether the target failed; one that answers that a person must act, or to come later, is well itself."""
    return isinstance(error, SendFailed) and not error.permanent and error.retry_after is None
