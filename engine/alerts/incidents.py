"""Incidents: what is wrong now, since when, and who was told. Plain data, and what a look makes of them. Pure.

An incident is one stretch of one concern of one resource: node/hel1 is away, app/blog is held. It may get worse and
better on the way (suspect, failing, unavailable) and is one incident still.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

CALM_SECONDS = 10.0
"""An incident is over when nothing was wrong for so long, with heartbeats of 30 s: until then it is the same one."""
MOST_STATES = 16


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong at the moment.

    ``because``: resources whose own trouble explains this one. ``keeps``: it is no trouble by itself, but not yet the
    end of one. ``once``: it is an event, which is told and has no end.
    """

    resource: str
    concern: str
    state: str
    reason: str = ""
    labels: frozenset[tuple[str, str]] = frozenset()
    because: frozenset[str] = frozenset()
    commit: str = ""
    keeps: bool = False
    once: bool = False


@dataclass(frozen=True, slots=True)
class Telling:
    """What a target knows of an incident. Times are seconds since the epoch, 0: not yet.

    ``due_at``: since when there is something to tell that was not told.
    """

    due_at: float = 0.0
    told_at: float = 0.0
    times: int = 0
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Incident:
    """``states`` are the states it went through and when each began; the last is the present one."""

    id: str
    resource: str
    concern: str
    reason: str
    opened_at: float
    states: tuple[tuple[str, float], ...]
    labels: frozenset[tuple[str, str]] = frozenset()
    because: frozenset[str] = frozenset()
    commit: str = ""
    once: bool = False
    clear_at: float = 0.0
    """Since when nothing is wrong any more."""
    ended_at: float = 0.0
    told: Mapping[str, Telling] = field(default_factory=dict)
    """By the id of the target."""

    @property
    def state(self) -> str:
        """How it is now, or was last."""
        return self.states[-1][0]

    @property
    def open(self) -> bool:
        """Whether something is wrong at the moment."""
        return not (self.clear_at or self.ended_at)

    @property
    def told_to(self) -> tuple[str, ...]:
        """The ids of the targets that were told of it, in order."""
        return tuple(sorted(name for name, telling in self.told.items() if telling.told_at))

    def within(self, states: Iterable[str]) -> float | None:
        """Return since when it is in one of some states; None when it is in none of them."""
        wanted, since = frozenset(states), None
        for state, at in reversed(self.states):
            if state not in wanted:
                break
            since = at
        return since


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing is told of ``resource`` (``node/hel1``; ``app/*`` for all apps; ``*``) until then."""

    resource: str
    until: float
    reason: str = ""
    by: str = ""

    def covers(self, incident: Incident, now: float) -> bool:
        """Whether nothing is told of an incident now."""
        kind = incident.resource.partition("/")[0]
        return now < self.until and self.resource in (incident.resource, f"{kind}/*", "*")


def met(before: Sequence[Incident], troubles: Iterable[Trouble], now: float, calm: float) -> list[Incident]:
    """Return the incidents as they are after a look: those of before that are not over, and new ones.

    ``calm``: for how long nothing must be wrong, in seconds.
    """
    left = {(i.resource, i.concern): i for i in before if not i.ended_at}
    found = [i for i in before if i.ended_at]
    for trouble in troubles:
        known = left.pop((trouble.resource, trouble.concern), None)
        if known is not None:
            found.append(_goes_on(known, trouble, now))
        elif not trouble.keeps:
            found.append(_opened(trouble, now))
    for i in left.values():
        clear_at = i.clear_at or now
        over = i.once or now - clear_at >= calm
        found.append(replace(i, clear_at=clear_at, ended_at=now if over else 0.0))
    return found


def _opened(trouble: Trouble, now: float) -> Incident:
    name = f"{trouble.resource} {trouble.concern} {now!r}"
    return Incident(
        hashlib.sha256(name.encode()).hexdigest()[:12], trouble.resource, trouble.concern, trouble.reason, now,
        ((trouble.state, now),), trouble.labels, trouble.because, trouble.commit, trouble.once,
    )  # fmt: skip


def _goes_on(known: Incident, trouble: Trouble, now: float) -> Incident:
    states = known.states if trouble.state == known.state else (*known.states, (trouble.state, now))[-MOST_STATES:]
    reason = known.reason if trouble.keeps else trouble.reason
    return replace(
        known, reason=reason, states=states, labels=trouble.labels, because=trouble.because, commit=trouble.commit,
        clear_at=0.0,
    )  # fmt: skip
