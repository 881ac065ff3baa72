"""How often a provider lets its API be called, and when the next call may go out. Pure: times come from outside."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``count`` calls in ``seconds``, of those whose method and path match; an empty pattern matches all.

    ``path`` is a regular expression for the whole path below the API's base.
    """

    count: int
    seconds: float
    methods: frozenset[str] = frozenset()
    path: str = ""

    def covers(self, method: str, path: str) -> bool:
        """Whether a call counts."""
        return (not self.methods or method in self.methods) and (
            not self.path or re.fullmatch(self.path, path) is not None
        )

    @property
    def text(self) -> str:
        """The limit in words."""
        what = " ".join(filter(None, ("/".join(sorted(self.methods)), self.path))) or "all calls"
        return f"{self.count} in {self.seconds:g} s ({what})"


@dataclass(slots=True)
class _Window:
    limit: Limit
    sent: deque[float] = field(default_factory=deque)

    def free_at(self, now: float) -> float:
        while self.sent and self.sent[0] <= now - self.limit.seconds:
            self.sent.popleft()
        return now if len(self.sent) < self.limit.count else self.sent[0] + self.limit.seconds


class Allowance:
    """What is left of each limit: a sliding window over the calls that went out."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        self._windows = [_Window(limit) for limit in limits]
        self._quiet_until = 0.0

    def wait(self, method: str, path: str, now: float) -> tuple[float, str]:
        """Return how many seconds a call has to wait, and for which limit; (0, "") when it may go out."""
        found = [(w.free_at(now) - now, w.limit.text) for w in self._windows if w.limit.covers(method, path)]
        found.append((self._quiet_until - now, "it asked us to wait"))
        longest = max(found)
        return longest if longest[0] > 0 else (0.0, "")

    def spend(self, method: str, path: str, now: float) -> None:
        """Count a call that goes out."""
        for window in self._windows:
            if window.limit.covers(method, path):
                window.sent.append(now)

    def quiet(self, until: float) -> None:
        """Let nothing go out before a time, since the provider said so."""
        self._quiet_until = max(self._quiet_until, until)
