"""Writes down, for pages, commands and metrics, how everything outside stands: breakers, when one changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from automator67.engine.breaker import Breakers, Standing
from automator67.engine.standing_files import read_standings
from automator67.engine.store.breakers import put_standings
from automator67.engine.store.database import Store
from automator67.engine.store.facts import add_events


class Chronicle:
    """Used from one thread at a time."""

    def __init__(
        self,
        store: Store,
        breakers: Breakers,
        others: Path,
        clock: Callable[[], float],
        redact: Callable[[str], str],
    ) -> None:
        """``others`` is where other processes say how their breakers stand, ``redact`` takes secrets out of a text."""
        self._store, self._breakers, self._others = store, breakers, others
        self._clock, self._redact = clock, redact
        self._written: tuple[Standing, ...] | None = None

    def tick(self) -> None:
        """Write what has changed; call it about every second. Raises StoreUnavailable, and writes it the next time."""
        standings = tuple(
            replace(s, why=self._redact(s.why)) for s in (*self._breakers.standings(), *read_standings(self._others))
        )
        # What was refused alone is not worth a write every second.
        if _without_counts(standings) == _without_counts(self._written):
            return
        before = {s.name: s.phase for s in self._written or ()}
        now = self._clock()
        with self._store.begin() as tx:
            put_standings(tx, standings)
            add_events(tx, [event for s in standings for event in _event(s, before.get(s.name, "closed"), now)])
        self._written = standings


def _without_counts(standings: tuple[Standing, ...] | None) -> tuple[Standing, ...] | None:
    return None if standings is None else tuple(replace(s, refused=0) for s in standings)


def _event(standing: Standing, before: str, now: float) -> list[tuple[float, str, str, str, str]]:
    """Return what is worth telling: that it opened, and that it closed."""
    if (standing.phase == "closed") == (before == "closed"):
        return []
    text = "it answers again" if standing.phase == "closed" else f"left alone, since it fails: {standing.why}"
    return [(now, "breaker", standing.name, text, "")]
