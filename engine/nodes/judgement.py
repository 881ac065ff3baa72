"""Judges a node from how long it has been silent. Pure.

``never`` → ``healthy`` ⇄ ``suspect`` → ``unavailable``; ``revoked`` is a person's decision. Within a maintenance window
``maintenance`` takes the place of suspect and unavailable: nothing moves, and nobody is alarmed. Ages are in seconds of
a clock that cannot be set. A node whose held connection broke is suspect sooner. Whoever was away itself (the engine
just started, its clock jumped) gives everybody time; and when more than a third of the nodes fall silent together,
the fault is more likely the engine's own network, and nobody becomes unavailable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from automator67.engine.desired import Settings
from automator67.engine.observed import NodeState

BROKEN_SECONDS = 10.0
"""A broken connection that is not back after this long is evidence."""
MASS_SHARE = 1 / 3
MASS_MINIMUM = 3
GRACE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of a node's liveness. Ages in seconds; ``silent`` is None when it never sent a heartbeat.

    ``broken`` is how long its held connection has been down, None while it is held or was never made.
    """

    silent: float | None
    broken: float | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state, the reason in words that stay the same while it lasts, and in how many seconds it may change."""

    state: NodeState
    reason: str = ""
    changes_in: float | None = None


def judge_nodes(
    signs: Mapping[str, Signs],
    settings: Settings,
    engine_up: float,
    maintained: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Verdict]:
    """Return the verdict on every node; ``engine_up`` is how long the engine has been running undisturbed.

    ``maintained``: nodes with an open maintenance window, and its words: their silence is expected, and counts neither
    against them nor as a sign that many have fallen silent.
    """
    grace = min(GRACE_SECONDS, settings.unavailable_after)
    calm = engine_up >= grace
    late = [n for n, s in signs.items() if _late(s, settings) and not s.revoked and n not in maintained]
    alive = [n for n, s in signs.items() if s.silent is not None and not s.revoked]
    mass = len(late) >= MASS_MINIMUM and len(late) > MASS_SHARE * len(alive)
    verdicts = {name: _verdict(s, settings, calm, mass, grace - engine_up) for name, s in signs.items()}
    return {n: _excused(v, maintained[n]) if n in maintained else v for n, v in verdicts.items()}


def _excused(verdict: Verdict, text: str) -> Verdict:
    return Verdict("maintenance", text) if verdict.state in ("suspect", "unavailable") else verdict


def _late(s: Signs, settings: Settings) -> bool:
    return s.silent is not None and s.silent > settings.suspect_after


def _verdict(s: Signs, settings: Settings, calm: bool, mass: bool, grace_left: float) -> Verdict:
    if s.revoked:
        return Verdict("revoked", "its certificate was revoked")
    if s.silent is None:
        return Verdict("never", "no agent has joined as this node yet")
    if s.silent > settings.unavailable_after:
        if mass:
            return Verdict("suspect", "many nodes fell silent at once: the engine's own network is the suspect", 1.0)
        if not calm:
            return Verdict("suspect", "silent, but the engine has only just started", grace_left)
        return Verdict("unavailable", "no heartbeat for longer than heartbeat.unavailable_after")
    if s.silent > settings.suspect_after:
        return Verdict("suspect", "no heartbeat for longer than heartbeat.suspect_after",
                       settings.unavailable_after - s.silent)  # fmt: skip
    if s.broken is not None and s.broken > BROKEN_SECONDS and s.silent > settings.heartbeat:
        return Verdict("suspect", "its connection broke and is not back", settings.unavailable_after - s.silent)
    return Verdict("healthy", "", settings.suspect_after - s.silent)
