"""Decides what to do at a place: units wanted against units seen. Pure.

Level-triggered, like everything: the same question at any time, after any crash, and nothing to do when all is as it
should be. What carries our stamp and is not wanted is removed; anything else is not even looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from automator67.engine.places.protocol import Act, Message, Opened, Seen, SeenUnit, Unit

_OWN = ("id", "slot", "epoch", "adopt")


@dataclass(frozen=True, slots=True)
class Shaped:
    """A wanted unit with what the place is asked to run for it; ``trouble``: why that cannot be said."""

    unit: Unit
    shape: Mapping[str, Any] = field(default_factory=dict, repr=False)
    opened: Opened = field(default_factory=Opened, repr=False)
    trouble: str = ""


def units_of(instances: Iterable[Message]) -> tuple[Unit, ...]:
    """Return by app what the instance messages of a node (docs/protocol.md) ask a place to run.

    Should an app be there in several revisions, then the one that was assigned last counts for all its slots: a place
    that replaces copies by itself runs one at a time.
    """
    apps: dict[str, list[Message]] = {}
    for message in instances:
        apps.setdefault(str(message["app"]), []).append(message)
    return tuple(_unit(app, messages) for app, messages in sorted(apps.items()))


def _unit(app: str, messages: Sequence[Message]) -> Unit:
    last = max(messages, key=lambda m: (int(m["epoch"]), str(m["rev"])))
    spec = {key: value for key, value in last.items() if key not in _OWN}
    slots = tuple(sorted({int(m["slot"]) for m in messages}))
    return Unit(app, str(last["rev"]), int(last["epoch"]), slots, spec)


def same_attempt(units: Iterable[Unit], seen: Seen) -> tuple[Unit, ...]:
    """Return the units with the attempt of what runs already in their revision, so that it is left in peace."""
    return tuple(_same_attempt(unit, seen.units.get(unit.app)) for unit in units)


def _same_attempt(unit: Unit, there: SeenUnit | None) -> Unit:
    if there is None or there.rev != unit.rev:
        return unit
    return replace(unit, attempt=there.attempt)


def mark_of(shape: Mapping[str, Any]) -> str:
    """Return a short hash of a shape: what was asked for can then be told from what somebody made of it."""
    text = json.dumps(shape, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def converge(
    wanted: Iterable[Shaped],
    seen: Seen,
    drifts: Mapping[str, Sequence[str]],
    left_alone: frozenset[str] = frozenset(),
) -> tuple[Act, ...]:
    """Return what to do, removals last. ``drifts``: by app where a unit differs by hand, as ``drifts_of`` finds it.

    ``left_alone``: apps that were taken away by hand and whose ``drift`` says that this is only reported.
    """
    acts = []
    for w in wanted:
        there = seen.units.get(w.unit.app)
        if w.unit.keep or w.trouble or w.unit.app in left_alone:
            continue
        if there is None:
            acts.append(Act("create", w.unit.app, "it is not there", w.shape, None, w.opened))
        elif there.gave_up != (w.unit.rev, w.unit.attempt) and (why := _why(w, there, drifts.get(w.unit.app, ()))):
            acts.append(Act("update", w.unit.app, why, w.shape, there, w.opened))
    names = {w.unit.app for w in wanted}
    gone = [unit for app, unit in sorted(seen.units.items()) if app not in names]
    return (*acts, *(Act("remove", unit.app, "nothing asks for it any more", seen=unit) for unit in gone))


def _why(w: Shaped, there: SeenUnit, drifts: Sequence[str]) -> str:
    if there.rev != w.unit.rev:
        return f"revision {there.rev or 'unknown'} is replaced by {w.unit.rev}"
    if there.mark != mark_of(w.shape):
        more = len(w.unit.slots) - len(there.slots)
        return f"copies {len(there.slots)} → {len(w.unit.slots)}" if more else "its settings changed"
    if drifts and w.unit.drift == "repair":
        return f"changed by hand: {'; '.join(drifts)}"
    return ""
