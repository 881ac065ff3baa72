"""Makes of what a place shows the report that an agent would send, so that everything else treats them alike. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from automator67.engine.places.converge import Shaped, mark_of
from automator67.engine.places.protocol import Seen, SeenUnit, Unit

MAX_DETAIL = 1000
Differences = Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[str, ...]]


def report(
    seen: Seen,
    wanted: Iterable[Shaped],
    drifts: Mapping[str, Sequence[str]],
    errors: Mapping[str, str],
    *,
    boot_id: str,
    seq: int,
    applied: str,
) -> dict[str, Any]:
    """Return a heartbeat message (docs/protocol.md). ``errors``: by app why the last act failed."""
    units = {w.unit.app: w for w in wanted}
    instances: list[dict[str, Any]] = []
    for app, there in sorted(seen.units.items()):
        drift = list(drifts.get(app, ()))
        instances += [{**message, "drift": drift} for message in there.instances]
    known = {str(i["id"]) for i in instances}
    for app, w in sorted(units.items()):
        why = errors.get(app) or w.trouble
        instances += [m for m in _absent(w.unit, seen.units.get(app), why, drifts.get(app, ())) if m["id"] not in known]
    return {
        "proto": 1,
        "boot_id": boot_id,
        "seq": seq,
        "clock": seen.clock,
        "rev_applied": applied,
        "runtimes": {"docker": "ok"},
        "instances": instances,
        "foreign": list(seen.foreign)[:50],
        "capacity": {"cpu": seen.cpu, "memory": seen.memory},
        "conditions": [c[:200] for c in seen.conditions][:32],
    }


def _absent(unit: Unit, there: SeenUnit | None, why: str, drift: Sequence[str]) -> list[dict[str, Any]]:
    """Return the wanted copies that are not there; not those whose turn has yet to come: no deadline runs for them."""
    if unit.keep:
        return []
    phase, detail = "pending", why
    if there is None and drift:
        phase, detail = "missing", why or "removed by hand"
    elif there is not None and there.gave_up == (unit.rev, unit.attempt):
        phase, detail = "failed", there.why
    elif there is not None and not why and (there.changing or there.rev != unit.rev):
        return []
    return [
        {
            "id": f"{unit.app}-{slot}-{unit.rev}", "app": unit.app, "slot": slot, "rev": unit.rev,
            "epoch": unit.attempt, "phase": phase, "health": "none", "detail": detail[:MAX_DETAIL],
            "drift": list(drift),
        }
        for slot in unit.slots
    ]  # fmt: skip


def drifts_of(
    wanted: Iterable[Shaped], seen: Seen, differences: Differences, removed: Iterable[str] = ()
) -> dict[str, tuple[str, ...]]:
    """Return by app where a unit differs by somebody's hand from the shape it was made with.

    ``differences(wanted, seen)`` is the adapter's. ``removed``: apps whose unit was there and is not any more.
    """
    found: dict[str, tuple[str, ...]] = dict.fromkeys(removed, ("removed by hand",))
    return found | {w.unit.app: texts for w in wanted if (texts := _drift(w, seen.units.get(w.unit.app), differences))}


def _drift(w: Shaped, there: SeenUnit | None, differences: Differences) -> tuple[str, ...]:
    if there is None or w.unit.keep or w.trouble or w.unit.drift == "off" or there.mark != mark_of(w.shape):
        return ()
    return tuple(differences(w.shape, there.shape))
