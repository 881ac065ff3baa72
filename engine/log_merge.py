"""Merges the log lines of several sources into the order of their times, holding few of them. Pure.

A k-way merge: the earliest line may go as soon as every open source has shown its next one. A source that has nothing
to show would hold up all others, so no line waits longer than a hold: ``START_HOLD`` while some source has not begun
to answer, ``FOLLOW_HOLD`` afterwards when lines are followed as they come. What a source delivers later than that is
passed on out of order, never dropped. Within a source the order is the source's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Generic, TypeVar

Item = TypeVar("Item")

START_HOLD = 3.0
FOLLOW_HOLD = 0.25
MOST_HELD = 512
"""How many lines of one source are held before it must wait."""


@dataclass(slots=True)
class _Source(Generic[Item]):
    number: int
    started: bool = False
    ended: bool = False
    latest: float = float("-inf")
    held: deque[tuple[float, Item, float]] = field(default_factory=deque)
    """Time as it counts for the order, line, when it arrived."""


class LogMerge(Generic[Item]):
    """The lines in between. All times of arrival are seconds of one clock that the caller reads."""

    def __init__(self, follow: bool) -> None:
        self._follow = follow
        self._sources: dict[str, _Source[Item]] = {}
        self._numbers = 0
        self._heads: list[tuple[float, int, str]] = []

    def open(self, name: str) -> None:
        """Expect lines of a source; the name of one that has ended may be opened anew once it is drained."""
        self._numbers += 1
        self._sources[name] = _Source(self._numbers)

    def started(self, name: str) -> None:
        """Take up that a source answers, though it may have nothing to show."""
        self._sources[name].started = True

    def end(self, name: str) -> None:
        """Expect nothing more of a source; what it has shown is still passed on."""
        source = self._sources[name]
        source.ended = True
        if not source.held:
            del self._sources[name]

    def put(self, name: str, lines: Sequence[tuple[float, Item]], now: float) -> None:
        """Take lines of a source, each with its time; a time earlier than the line's before counts as that one's."""
        source = self._sources[name]
        source.started = True
        if lines and not source.held:
            heappush(self._heads, (max(source.latest, lines[0][0]), source.number, name))
        latest, held = source.latest, source.held
        for at, item in lines:
            latest = at if at > latest else latest
            held.append((latest, item, now))
        source.latest = latest

    def full(self, name: str) -> bool:
        """Whether a source must wait before it shows more."""
        source = self._sources.get(name)
        return source is not None and len(source.held) >= MOST_HELD

    def take(self, now: float) -> list[Item]:
        """Return the lines that may go now, in order."""
        out: list[Item] = []
        heads, sources = self._heads, self._sources
        awaited = [s for s in sources.values() if not s.ended and not s.held]
        while heads and not (awaited and now < self._overdue(awaited)):
            _, number, name = heappop(heads)
            source = sources[name]
            # Its lines go on as long as no other source's come before them.
            bound = heads[0] if heads else None
            held = source.held
            while held and (bound is None or (held[0][0], number, name) <= bound):
                out.append(held.popleft()[1])
                if awaited:
                    break
            if held:
                heappush(heads, (held[0][0], number, name))
            elif source.ended:
                del sources[name]
            else:
                awaited.append(source)
        return out

    def due(self) -> float | None:
        """Return when ``take`` has something to give though nothing arrives; None: not before something does."""
        if not self._heads:
            return None
        return self._overdue([s for s in self._sources.values() if not s.ended and not s.held])

    def _overdue(self, awaited: Sequence[_Source[Item]]) -> float:
        """Return when the line that has been held longest must go, and with it all that come before it."""
        beginning = not self._follow or any(not s.started for s in awaited)
        hold = (START_HOLD if beginning else FOLLOW_HOLD) if awaited else 0.0
        return min(self._sources[name].held[0][2] for _, _, name in self._heads) + hold
