"""Decides who is told of which incident now, and of which later. Pure.

Each target is told once of an incident, again while it lasts, and once that it is over. Not told is what ends too soon,
what a silence covers, and what the trouble of another resource explains that this target is told of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from automator67.engine.alerts.incidents import CALM_SECONDS, Incident, Silence, Telling, Trouble, met
from automator67.engine.alerts.rules import RECOVERED, SEVERITIES, Rule, Severity, Target, by_target

Kind = Literal["problem", "repeat", "resolved"]


@dataclass(frozen=True, slots=True)
class Notification:
    """One message for one target. ``id`` is the same however often it is sent."""

    id: str
    target: Target
    kind: Kind
    severity: Severity
    template: str
    incidents: tuple[Incident, ...]
    explained: tuple[Incident, ...] = ()
    """What is not told by itself since these explain it."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a look makes of the incidents. ``wake_at``: when to look again though nothing changes; 0: never."""

    incidents: tuple[Incident, ...]
    notifications: tuple[Notification, ...]
    wake_at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Due:
    kind: Kind
    since: float
    rule: Rule


def step(
    before: Sequence[Incident], troubles: Iterable[Trouble], rules: Iterable[Rule], silences: Sequence[Silence],
    now: float, calm: float = CALM_SECONDS,
) -> Step:  # fmt: skip
    """Return the incidents and what is to be said, given the incidents of before and what is wrong now."""
    incidents = {i.id: i for i in met(before, troubles, now, calm)}
    wakes = [i.clear_at + calm for i in incidents.values() if i.clear_at and not i.ended_at]
    notifications: list[Notification] = []
    for target, mine in by_target(rules).items():
        look = _Look(target, mine, incidents, silences, now)
        notifications += look.tell()
        wakes += look.wakes
    return Step(tuple(incidents.values()), tuple(notifications), min((w for w in wakes if w > now), default=0.0))


def over(incident: Incident, rules: Iterable[Rule]) -> bool:
    """Whether nothing will be said of an incident any more."""
    if not incident.ended_at:
        return False
    return not any(_end_due(incident, target, mine) for target, mine in by_target(rules).items())


class _Look:
    """One target's look at all incidents, which it marks as told. ``wakes``: when to look again."""

    def __init__(
        self, target: Target, mine: Sequence[Rule], incidents: dict[str, Incident], silences: Sequence[Silence],
        now: float,
    ) -> None:  # fmt: skip
        self._target, self._mine, self._incidents, self._silences, self._now = target, mine, incidents, silences, now
        self._of: dict[str, list[Incident]] = {}
        for i in incidents.values():
            if not i.ended_at:
                self._of.setdefault(i.resource, []).append(i)
        self.wakes: list[float] = []

    def tell(self) -> list[Notification]:
        """Return what the target is told now: nothing, until what came first has waited for the others."""
        due = {i.id: found for i in self._incidents.values() if (found := self._due(i))}
        if not due:
            return []
        ready = min(d.since for d in due.values()) + max(r.group for r in self._mine)
        if ready > self._now:
            self.wakes.append(ready)
            for name, d in due.items():
                self._mark(name, replace(self._telling(self._incidents[name]), due_at=d.since))
            return []
        told = []
        for kinds in (("problem", "repeat"), ("resolved",)):
            said = {name: d for name, d in due.items() if d.kind in kinds}
            if said:
                told.append(_notification(self._target, said, self._incidents))
            for name, d in said.items():
                self._mark(name, _told(self._telling(self._incidents[name]), d.kind, self._now))
                # For the wake-up of its repetition only: it was told just now.
                self._due(self._incidents[name])
        return told

    def _due(self, i: Incident) -> _Due | None:
        """Return what is to be told of an incident now; where it is later, remember when."""
        telling = self._telling(i)
        if i.ended_at:
            rule = _end_due(i, self._target, self._mine)
            return _Due("resolved", telling.due_at or self._now, rule) if rule is not None else None
        wanted = _wanted(i, self._mine)
        if wanted is None or i.clear_at:
            return None
        at, rule = wanted
        if telling.told_at:
            if not rule.repeat:
                return None
            at = max(at, telling.told_at + rule.repeat)
        quiet = [s.until for s in self._silences if s.covers(i, self._now)]
        if at > self._now or quiet:
            self.wakes.append(max([at, *quiet]))
            return None
        if self._explained(i):
            return None
        return _Due("repeat" if telling.told_at else "problem", telling.due_at or self._now, rule)

    def _explained(self, i: Incident) -> bool:
        """Whether another incident explains this one, of which the target was told or will be."""
        causes = [j for resource in i.because for j in self._of.get(resource, ()) if j.id != i.id]
        return any(self._telling(j).told_at or _wanted(j, self._mine) for j in causes)

    def _telling(self, i: Incident) -> Telling:
        return i.told.get(self._target.id, Telling())

    def _mark(self, name: str, telling: Telling) -> None:
        i = self._incidents[name]
        self._incidents[name] = replace(i, told={**i.told, self._target.id: telling})


def _wanted(i: Incident, mine: Iterable[Rule]) -> tuple[float, Rule] | None:
    """Return from when on a target wants to know of an incident, by the first of its rules."""
    found = [(since + r.wait, n, r) for n, r in enumerate(mine)
             if r.fits(i.labels) and (since := i.within(r.on)) is not None]  # fmt: skip
    at, _, rule = min(found, default=(0.0, 0, None), key=lambda f: f[:2])
    return (at, rule) if rule is not None else None


def _end_due(i: Incident, target: Target, mine: Iterable[Rule]) -> Rule | None:
    telling = i.told.get(target.id)
    if i.once or telling is None or not telling.told_at or telling.ended_at:
        return None
    return next((r for r in mine if RECOVERED in r.on and r.fits(i.labels)), None)


def _told(telling: Telling, kind: Kind, now: float) -> Telling:
    if kind == "resolved":
        return replace(telling, due_at=0.0, ended_at=now)
    return replace(telling, due_at=0.0, told_at=now, times=telling.times + 1)


def _notification(target: Target, said: dict[str, _Due], incidents: dict[str, Incident]) -> Notification:
    mine = tuple(sorted((incidents[name] for name in said), key=lambda i: (i.opened_at, i.resource, i.concern)))
    kinds = {d.kind for d in said.values()}
    kind: Kind = kinds.pop() if len(kinds) == 1 else "problem"
    severity = max((d.rule.severity for d in said.values()), key=SEVERITIES.index)
    template = next((d.rule.template for d in said.values() if d.rule.template), "")
    counted = sorted((i.id, i.told.get(target.id, Telling()).times) for i in mine)
    name = hashlib.sha256(f"{target.id} {kind} {counted}".encode()).hexdigest()[:32]
    told = {i.resource for i in mine}
    explained = tuple(i for i in incidents.values() if i.open and i.because & told and i.id not in said)
    return Notification(name, target, kind, severity, template, mine, explained if kind != "resolved" else ())
