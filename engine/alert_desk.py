"""Follows what is wrong from pass to pass: incidents, and what is to be said of them, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from automator67.engine import crash
from automator67.engine.alerts.incidents import CALM_SECONDS, Incident, Trouble
from automator67.engine.alerts.rules import Rule, rules_of
from automator67.engine.alerts.telling import Notification, over, step
from automator67.engine.alerts.words import as_data
from automator67.engine.settings import Settings
from automator67.engine.store.alerts import active_incidents, enqueue, load_silences, save_incidents
from automator67.engine.store.database import Store
from automator67.engine.store.facts import add_events


class AlertDesk:
    """Used from the thread of the passes. ``told`` is called when there is something to send."""

    def __init__(self, store: Store, redact: Callable[[str], str], told: Callable[[], None]) -> None:
        """``redact`` takes values of secrets out of what is kept and said."""
        self._store, self._redact, self._told = store, redact, told
        self._incidents: tuple[Incident, ...] | None = None
        self._rules: tuple[Rule, ...] = ()
        self._document: Mapping[str, Any] | None = None

    def look(self, settings: Settings, troubles: Sequence[Trouble], now: float) -> float:
        """Take in what is wrong now; return when to look again though nothing changes (0: never).

        Raises StoreUnavailable; then nothing was recorded and nothing is said.
        """
        if self._document is not settings.document:
            self._rules, self._document = rules_of(settings.document), settings.document
        with self._store.read() as tx:
            before = tuple(active_incidents(tx)) if self._incidents is None else self._incidents
            silences = load_silences(tx, now)
        seen = [replace(t, reason=self._redact(t.reason)) for t in troubles]
        calm = max(1.0, CALM_SECONDS * settings.heartbeat / 30.0)
        after = step(before, seen, self._rules, silences, now, calm)
        known = {i.id: i for i in before}
        active = {i.id: not over(i, self._rules) for i in after.incidents}
        # One that did not change is over too when the rule is gone that was waited for.
        changed = [(i, active[i.id]) for i in after.incidents if known.get(i.id) != i or not active[i.id]]
        if changed or after.notifications:
            with self._store.begin() as tx:
                save_incidents(tx, changed)
                enqueue(tx, [_message(settings.name, n) for n in after.notifications], now)
                add_events(tx, [_event(n, now) for n in after.notifications])
                crash.point("inside-alerts")
        self._incidents = tuple(i for i in after.incidents if active[i.id])
        if after.notifications:
            self._told()
        return after.wake_at


def _message(cloud: str, n: Notification) -> tuple[str, str, Mapping[str, Any]]:
    return n.id, n.target.id, {"to": asdict(n.target), "message": as_data(cloud, n)}


def _event(n: Notification, now: float) -> tuple[float, str, str, str, str]:
    first = n.incidents[0]
    words = "is told" if n.kind == "problem" else "is told again" if n.kind == "repeat" else "is told to be well again"
    return now, "alert", first.resource, f"{n.target.id} {words}", first.commit
