"""Judges all nodes again and again: keeps what was thought of them, and of the engine itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from automator67.engine.desired import Node
from automator67.engine.nodes.entry import Entry, signs_of
from automator67.engine.nodes.judgement import Standing, Weather, judge_nodes
from automator67.engine.settings import Settings

DISTURBED_SECONDS = 5.0


class Watch:
    """The judgement of nodes over time; ``mono`` is monotonic seconds. Who calls ``judge`` holds the entries' lock."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._weather = Weather(calm_since=monotonic())
        self._ticked = monotonic()
        self._settings = Settings()
        self._maintained: Mapping[str, str] = {}
        self._changes_at: float | None = None

    @property
    def settings(self) -> Settings:
        """The settings that judgement follows now."""
        return self._settings

    def follow(self, settings: Settings, nodes: Mapping[str, Node]) -> None:
        """Take up what the commit says."""
        self._settings = settings
        self._maintained = {n.name: n.window.text for n in nodes.values() if n.window is not None}

    def tick(self, mono: float) -> None:
        """Notice that the engine itself was away (stopped, suspended): nobody was silent then. Call it every second."""
        if mono - self._ticked > DISTURBED_SECONDS:
            self._weather = Weather(mono, self._weather.mass)
        self._ticked = mono

    def judge(self, entries: Mapping[str, Entry | None], mono: float) -> dict[str, Standing]:
        """Return what is to be thought of each node now, and remember it."""
        self.tick(mono)
        signs = {name: signs_of(e, mono) for name, e in entries.items()}
        before = {name: e.standing for name, e in entries.items() if e is not None}
        found, self._weather = judge_nodes(signs, before, self._weather, self._settings, mono, self._maintained)
        for name, entry in entries.items():
            if entry is not None:
                entry.standing = found[name]
        self._changes_at = min((s.changes_at for s in found.values() if s.changes_at is not None), default=None)
        return found

    def calm_since(self, now: float) -> float:
        """Return since when the engine has been undisturbed, by the clock that ``now`` is in."""
        return now - (self._monotonic() - self._weather.calm_since)

    def changes_at(self, now: float) -> float:
        """Return when time alone may next change a judgement (0: never), by the clock that ``now`` is in."""
        return 0.0 if self._changes_at is None else max(now, now + self._changes_at - self._monotonic())
