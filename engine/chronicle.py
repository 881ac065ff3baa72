"""Writes down how everything goes, for pages, commands and metrics: breakers when one changes, the rest once a minute.

Once a minute is one transaction: what is measured, uptime, and that the engine lives.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from automator67.engine.accounts import running, standing
from automator67.engine.breaker import Breakers
from automator67.engine.circuit import Standing
from automator67.engine.desired import Desired
from automator67.engine.judge import AppState
from automator67.engine.measures import Measures, present
from automator67.engine.months import month_of
from automator67.engine.observed import Observed
from automator67.engine.quotas import Quota
from automator67.engine.standing_files import read_standings
from automator67.engine.store.breakers import put_standings
from automator67.engine.store.database import Store
from automator67.engine.store.facts import add_events, app_state_rows, set_fact
from automator67.engine.store.history import put_point
from automator67.engine.store.nodes import node_records
from automator67.engine.store.quotas import add_hours, put_quotas, read_quotas
from automator67.engine.store.uptime import add_spent
from automator67.engine.store.watching import BUCKETS_FACT, ENGINE_FACT
from automator67.engine.uptime import Spent, account, verdict

MINUTE = 60.0
LONGEST_TICK = 5.0
"""When more time than this has passed between two ticks, the engine was away: what was meanwhile is not known."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the last pass found. ``passed_at`` is when it was, ``figures`` are the engine's own measures."""

    passed_at: float = 0.0
    states: Mapping[str, AppState] = field(default_factory=dict)
    desired: Desired | None = None
    observed: Observed | None = None
    figures: Measures = field(default_factory=dict)


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
        self._started = self._last = clock()
        self._spent: dict[str, Spent] = {}
        self._counted_from = self._started
        self._due = 0.0
        self._awake: dict[str, float] = {}
        self.quotas: tuple[Quota, ...] = ()
        """How accounts at providers stand, since the last minute."""

    def tick(self, judged: Judged) -> None:
        """Count the time that passed, and write what is due; call it about every second.

        Raises StoreUnavailable; what could not be written is written the next time.
        """
        now = self._clock()
        self._count(judged, now)
        standings = tuple(
            replace(s, why=self._redact(s.why)) for s in (*self._breakers.standings(), *read_standings(self._others))
        )
        # What was refused alone is not worth a write every second.
        changed = _without_counts(standings) != _without_counts(self._written)
        minute = now >= self._due and judged.passed_at > 0
        if not changed and not minute:
            return
        before = {s.name: s.phase for s in self._written or ()}
        with self._store.begin() as tx:
            put_standings(tx, standings)
            add_events(tx, [event for s in standings for event in _event(s, before.get(s.name, "closed"), now)])
            if minute:
                self._minute(tx, judged, now)
        self._written = standings
        if minute:
            # What is still undecided is carried on.
            self._spent = {app: Spent(silent=s.silent) for app, s in self._spent.items() if s.silent}
            self._awake = {}
            self._counted_from, self._due = now, (now // MINUTE + 1) * MINUTE

    def _count(self, judged: Judged, now: float) -> None:
        seconds, self._last = now - self._last, now
        if judged.observed is None or seconds > LONGEST_TICK:
            self._spent = {app: replace(s, silent=0.0) for app, s in self._spent.items()}
            return
        views = {name: view.state for name, view in judged.observed.nodes.items()}
        nodes = judged.desired.nodes if judged.desired else {}
        announced = frozenset(name for name, node in nodes.items() if node.window is not None)
        for name, state in judged.states.items():
            ran = name in judged.observed.last_good
            found = verdict(state, views, announced, ran_before=ran)
            self._spent[name] = account(self._spent.get(name, Spent()), found, seconds)
        for name, node in nodes.items():
            if copies := running(node, judged.observed.nodes.get(name)):
                self._awake[name] = self._awake.get(name, 0.0) + copies * seconds

    def _minute(self, tx: Connection, judged: Judged, now: float) -> None:
        figures = {**_own_use(), **judged.figures}
        set_fact(tx, "engine_started", str(self._started))
        set_fact(tx, "reconciled_at", str(judged.passed_at))
        set_fact(tx, ENGINE_FACT, json.dumps(figures))
        buckets = judged.observed.buckets if judged.observed else ()
        set_fact(tx, BUCKETS_FACT, json.dumps([asdict(one) for one in buckets]))
        reports = {r.name: r.report for r in node_records(tx)}
        put_point(tx, present(reports, app_state_rows(tx), figures), now)
        add_spent(tx, self._spent, self._counted_from, now)
        self._account(tx, judged, reports, now)

    def _account(self, tx: Connection, judged: Judged, reports: Mapping[str, Mapping[str, Any]], now: float) -> None:
        if judged.desired is None or judged.observed is None:
            return
        month, *around = month_of(now)
        hours = add_hours(tx, self._awake, month, self._counted_from)
        found = standing(judged.desired, judged.observed.nodes, reports, hours, (around[0], around[1]), now)
        before = {(q.node, q.resource): q.state for q in read_quotas(tx)}
        put_quotas(tx, found)
        news = [q for q in found if q.state != before.get((q.node, q.resource), "ok") and q.state != "ok"]
        add_events(tx, [(now, "quota", f"node/{q.node}", q.text, "") for q in news])
        self.quotas = tuple(found)


def _own_use() -> dict[str, float]:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"memory": float(pages * resource.getpagesize()), "cpu_seconds": used.ru_utime + used.ru_stime}


def _without_counts(standings: tuple[Standing, ...] | None) -> tuple[Standing, ...] | None:
    return None if standings is None else tuple(replace(s, refused=0) for s in standings)


def _event(standing: Standing, before: str, now: float) -> list[tuple[float, str, str, str, str]]:
    """Return what is worth telling: that it opened, and that it closed."""
    if (standing.phase == "closed") == (before == "closed"):
        return []
    text = "it answers again" if standing.phase == "closed" else f"left alone, since it fails: {standing.why}"
    return [(now, "breaker", standing.name, text, "")]
