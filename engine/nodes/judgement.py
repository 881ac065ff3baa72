"""Judges nodes from how long they have been silent, and from what was thought of them before. Pure.

``never`` → ``healthy`` → ``suspect`` → ``failing`` → ``unavailable`` → ``recovering`` → ``healthy``; ``revoked`` is a
person's decision. Within a maintenance window ``maintenance`` takes the place of the bad ones: nothing moves, and
nobody is alarmed. Ages and times are seconds of a clock that cannot be set.

- A node whose held connection broke is suspect at once, unless heartbeats go on.
- A node that loses heartbeats or is late by habit is given more time, by its own history (punctuality.py).
- One heartbeat ends a suspicion; after worse, a node is ``recovering`` until it has been steady for a while, longer
  each time it falls again within an hour (flap damping).
- Whoever was away itself (the engine just started, was stopped, its machine slept) gives everybody time.
- When more than a third of the nodes fall silent together, the fault is more likely the engine's own network: nobody
  gets worse than suspect. This is the self-doubt of Lifeguard (Dadgar et al., 2018), for a single observer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from automator67.engine.observed import NodeState
from automator67.engine.settings import Settings
from automator67.schemas.units import human_seconds

BROKEN_SECONDS = 0.5
"""A held connection that an agent makes anew by itself is back sooner."""
MASS_SHARE = 1 / 3
MASS_MINIMUM = 2
GRACE_SECONDS = 120.0
FLAP_WINDOW = 3600.0
FLAPS = 3
"""As many falls within the window make a node one that flaps."""
LONGEST_HOLD = 60
"""In heartbeats: the longest a node that flaps must have been steady to be trusted again."""
MOST_PATIENCE = 2.0
"""By how much the history of a node may lengthen ``unavailable_after``, at most."""
SUSPECT_BEATS = 2.75
"""How many heartbeats a silence may last, at most, before it is suspect, whatever the history."""
BAD: tuple[NodeState, ...] = ("suspect", "failing", "unavailable")


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of a node's liveness. Ages in seconds; ``silent`` is None when it never sent a heartbeat.

    ``broken`` is how long its held connection has been down, None while it is held or was never made. ``every``: how
    often its agent was told to report, 0 for as the settings say. ``suspect`` and ``unavailable`` are the least
    silences that mean something, by its own history (0: no history).
    """

    silent: float | None
    broken: float | None = None
    revoked: bool = False
    every: float = 0.0
    suspect: float = 0.0
    unavailable: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What is thought of a node: the state, since when, the reason in words that stay the same while it lasts.

    ``falls``: when it fell out of grace within the last hour. ``changes_at``: when time alone may change the state.
    """

    state: NodeState = "never"
    reason: str = ""
    since: float = 0.0
    falls: tuple[float, ...] = ()
    changes_at: float | None = None


OWN_NETWORK = "many nodes fell silent at once: the engine's own network is the suspect"
"""Why nobody gets worse than suspect for now."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What the engine thinks of itself: since when it has been undisturbed, and whether many are silent together."""

    calm_since: float = 0.0
    mass: bool = False


@dataclass(frozen=True, slots=True)
class _Limits:
    """The silences from which on one node is suspect, failing, unavailable; and how long it has to be steady."""

    suspect: float
    failing: float
    unavailable: float
    steady: float

    @classmethod
    def of(cls, s: Signs, settings: Settings) -> _Limits:
        # A crowded engine asks for fewer heartbeats: what is usual is longer then.
        slower = max(1.0, s.every / settings.heartbeat)
        every = settings.heartbeat * slower
        suspect = settings.suspect_after * slower
        suspect = max(suspect, min(s.suspect, SUSPECT_BEATS * every))
        unavailable = settings.unavailable_after * slower
        unavailable = max(unavailable, min(s.unavailable, MOST_PATIENCE * unavailable))
        failing = max(settings.failing_after * slower, suspect)
        return cls(suspect, min(failing, unavailable), unavailable, settings.recover_after * slower)

    def level(self, silent: float) -> int:
        """Return how bad a silence is: 0 not, then as in ``BAD``."""
        return (silent > self.suspect) + (silent > self.failing) + (silent > self.unavailable)


def judge_nodes(
    signs: Mapping[str, Signs],
    before: Mapping[str, Standing],
    weather: Weather,
    settings: Settings,
    now: float,
    maintained: Mapping[str, str] = MappingProxyType({}),
) -> tuple[dict[str, Standing], Weather]:
    """Return what is to be thought of every node now, and of the engine itself.

    ``maintained``: nodes with an open maintenance window, and its words: their silence is expected, and counts neither
    against them nor as a sign that many have fallen silent.
    """
    mass = _mass(signs, before, settings, maintained)
    # Those who were not to be heard get their time anew once it is over.
    weather = Weather(now if weather.mass and not mass else weather.calm_since, mass)
    calm_at = weather.calm_since + min(GRACE_SECONDS, settings.unavailable_after)
    return {
        name: _judge(
            s, before.get(name, Standing(since=now)), _Limits.of(s, settings), settings, now,
            mass=mass, calm_at=calm_at, maintained=maintained.get(name, ""),
        )
        for name, s in signs.items()
    }, weather  # fmt: skip


def _mass(
    signs: Mapping[str, Signs], before: Mapping[str, Standing], settings: Settings, maintained: Mapping[str, str]
) -> bool:
    """Whether more than a third of the nodes that still count fell silent together."""
    counted = [
        s for name, s in signs.items()
        if s.silent is not None and not s.revoked and name not in maintained
        and not (name in before and before[name].state == "unavailable")
    ]  # fmt: skip
    late = sorted(s.silent for s in counted if s.silent is not None and s.silent > settings.suspect_after)
    return _together(late, settings.suspect_after) > max(MASS_MINIMUM - 1, MASS_SHARE * len(counted))


def _together(ages: Sequence[float], within: float) -> int:
    """Return the size of the largest group of sorted ages that lie within so many seconds."""
    largest = first = 0
    for last, age in enumerate(ages):
        while age - ages[first] > within:
            first += 1
        largest = max(largest, last - first + 1)
    return largest


def _judge(
    s: Signs,
    old: Standing,
    limits: _Limits,
    settings: Settings,
    now: float,
    *,
    mass: bool,
    calm_at: float,
    maintained: str,
) -> Standing:
    falls = old.falls
    if falls and now - falls[0] > FLAP_WINDOW:
        falls = tuple(at for at in falls if now - at <= FLAP_WINDOW)
    if s.revoked:
        return _become(old, "revoked", "its certificate was revoked", now, falls)
    if s.silent is None:
        return _become(old, "never", "no agent has joined as this node yet", now, falls)
    level = limits.level(s.silent)
    broken = s.broken is not None and s.silent >= s.broken > BROKEN_SECONDS
    unheard = old.state in ("failing", "unavailable") and now - s.silent <= old.since
    if level == 0 and not broken and not unheard:
        return _trusted(s.silent, old, limits, settings, now, falls, s.broken)
    if maintained:
        return _become(old, "maintenance", maintained, now, falls)
    if unheard:
        # Only a heartbeat makes it better: not more patient settings, nor doubt about the engine.
        level = max(level, BAD.index(old.state) + 1)
    moved = unheard and old.state == "unavailable"
    if not moved and ((mass and level >= 1) or (now < calm_at and level >= 2)):
        why = OWN_NETWORK if mass else "silent, but the engine has only just started"
        state: NodeState = "failing" if old.state == "failing" else "suspect"
        return _become(old, state, why, now, falls, None if mass else calm_at)
    state = BAD[max(level, 1) - 1]
    return _become(old, state, _why(level, broken), now, falls, _next(s.silent, limits, now))


def _why(level: int, broken: bool) -> str:
    if level == 0 and broken:
        return "its connection broke and is not back"
    return f"no heartbeat for longer than heartbeat.{BAD[level - 1]}_after"


def _next(silent: float, limits: _Limits, now: float) -> float | None:
    later = [at for at in (limits.suspect, limits.failing, limits.unavailable) if at >= silent]
    return now + later[0] - silent if later else None


def _trusted(
    silent: float,
    old: Standing,
    limits: _Limits,
    settings: Settings,
    now: float,
    falls: tuple[float, ...],
    broken: float | None,
) -> Standing:
    """Return the standing of a node that is heard: well, or on its way to be trusted again."""
    changes = now + limits.suspect - silent
    if broken is not None and silent >= broken:
        changes = min(changes, now + BROKEN_SECONDS - broken)
    flapping = len(falls) >= FLAPS
    if old.state in ("failing", "unavailable") or (old.state == "suspect" and flapping):
        return _recovering(old, limits, settings, now, falls, changes)
    # Another heartbeat must have come since the one that made it recovering.
    steady = (
        old.state == "recovering" and now - old.since >= _hold(limits, settings, falls) and now - silent > old.since
    )
    if old.state == "recovering" and not steady:
        return _recovering(old, limits, settings, now, falls, changes)
    return _become(old, "healthy", "", now, falls, changes)


def _recovering(
    old: Standing, limits: _Limits, settings: Settings, now: float, falls: tuple[float, ...], changes: float
) -> Standing:
    hold = _hold(limits, settings, falls)
    words = human_seconds(hold) if hold >= 1 else f"{hold:g}s"
    why = f"back, and trusted again after {words} of steady heartbeats"
    if len(falls) >= FLAPS:
        why = f"flapping: it fell {len(falls)} times within an hour; trusted again after {words}"
    since = old.since if old.state == "recovering" else now
    return _become(old, "recovering", why, now, falls, min(changes, max(since + hold, now + 0.1)))


def _hold(limits: _Limits, settings: Settings, falls: Sequence[float]) -> float:
    """Return how long a node must be steady before it is trusted again, in seconds."""
    longer = max(0, min(len(falls) - FLAPS + 1, 16))
    return min(limits.steady * 2.0**longer, max(limits.steady, LONGEST_HOLD * settings.heartbeat))


def _become(
    old: Standing, state: NodeState, reason: str, now: float, falls: tuple[float, ...], changes: float | None = None
) -> Standing:
    if state in BAD and old.state in ("healthy", "recovering"):
        falls = (*falls, now)
    since = old.since if state == old.state else now
    return replace(old, state=state, reason=reason, since=since, falls=falls, changes_at=changes)
