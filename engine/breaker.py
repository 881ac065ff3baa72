"""Circuit breakers before everybody outside: the states of ``circuit.py`` with a clock, a lock and chance."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from automator67.engine.circuit import Circuit, Policy, Standing, admit, dropped, failed, succeeded
from automator67.engine.clock import steady_now

MAX_WHY = 200


class BreakerOpen(Exception):
    """No call goes out now; one line that says to whom, until when and why. ``wait``: seconds until the next probe."""

    def __init__(self, text: str, wait: float) -> None:
        super().__init__(text)
        self.wait = wait


class Breaker:
    """Stands before one account, forge or shard, which errors call ``who``; may be used from several threads."""

    def __init__(
        self,
        who: str,
        policy: Policy = Policy(),  # noqa: B008 - a policy never changes
        *,
        clock: Callable[[], float] = steady_now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``chance()`` gives numbers from 0 to 1, ``clock()`` seconds since the epoch."""
        self.who = who
        self._policy, self._clock, self._chance = policy, clock, chance
        self._lock = threading.Lock()
        self._circuit = Circuit()
        self._why, self._refused = "", 0

    @contextmanager
    def call(self, failure: Callable[[Exception], bool]) -> Iterator[None]:
        """Let a call through, and take its outcome from how the block ends. Raises BreakerOpen instead of calling.

        ``failure(error)`` tells a failure of the other side from an answer that we do not like.
        """
        turn = self._enter()
        try:
            yield
        except Exception as error:
            bad = failure(error)
            with self._lock:
                if bad:
                    self._why = " ".join(str(error).split())[:MAX_WHY]
                    self._circuit = failed(self._circuit, self._policy, turn, self._clock(), self._chance())
                else:
                    self._circuit = succeeded(self._circuit, turn)
            raise
        except BaseException:
            with self._lock:
                self._circuit = dropped(self._circuit, turn)
            raise
        with self._lock:
            self._circuit = succeeded(self._circuit, turn)

    def standing(self, name: str) -> Standing:
        """Return how it stands, under a name."""
        with self._lock:
            c = self._circuit
            if c.phase == "closed":
                return Standing(name, "closed", refused=self._refused)
            return Standing(name, c.phase, c.since, c.until, self._why, self._refused)

    def _enter(self) -> int:
        with self._lock:
            now = self._clock()
            self._circuit, free = admit(self._circuit, self._policy, now)
            if free:
                return self._circuit.turn
            self._refused += 1
            why = f" ({self._why})" if self._why else ""
            if self._circuit.phase == "half-open":
                raise BreakerOpen(f"{self.who} is being tried by another call{why}", self._policy.patience)
            until = datetime.fromtimestamp(self._circuit.until, UTC).strftime("%H:%M:%S")
            raise BreakerOpen(f"{self.who} is left alone until {until} UTC{why}", self._circuit.until - now)


class Breakers:
    """All breakers of a process, by what they stand before (``node/render-free``); one that nobody uses is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: WeakValueDictionary[str, Breaker] = WeakValueDictionary()

    def before(self, name: str, who: str, policy: Policy = Policy()) -> Breaker:  # noqa: B008
        """Return a new breaker, closed; it takes the place of the one of that name."""
        breaker = Breaker(who, policy)
        with self._lock:
            self._all[name] = breaker
        return breaker

    def standings(self) -> tuple[Standing, ...]:
        """Return how all stand, by name."""
        with self._lock:
            found = sorted(self._all.items())
        return tuple(breaker.standing(name) for name, breaker in found)
