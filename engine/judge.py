"""Judges each app: sync, health and drift are three facts about it, and none implies another. Pure.

sync: ``synced`` (what runs is what the commit asks for), ``progressing``, ``held`` (the wanted revision failed and
the last good one runs), ``blocked`` (something must change first), ``out-of-sync`` (steps wait for a person).
health: ``healthy``, ``progressing`` (starting, for no longer than ``update.deadline``), ``degraded`` (some replicas),
``missing`` (none), ``unknown`` (its nodes have not reported); a copy that ends again and again is not healthy.
drift: ``none``, ``drifted``, ``unknown``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from automator67.engine.copies import Copy
from automator67.engine.desired import App, Desired
from automator67.engine.observed import Instance, Observed
from automator67.engine.plan.model import Plan
from automator67.engine.stability import is_looping, looping_words


@dataclass(frozen=True, slots=True)
class AppState:
    """What is known of an app; ``instances`` are plain data for pages and ``--json``."""

    app: str
    sync: str
    health: str
    drift: str
    reason: str = ""
    replicas_wanted: int = 0
    replicas_healthy: int = 0
    rev_wanted: str = ""
    rev_running: str = ""
    commit_compared: str = ""
    commit_deployed: str = ""
    instances: tuple[Mapping[str, Any], ...] = ()
    path: str = ""


class Standing(NamedTuple):
    """How things are after a pass: every app by name, how far the commit is, and one line about that."""

    apps: Mapping[str, AppState]
    commit: str
    summary: str


def judge(
    desired: Desired, observed: Observed, plan: Plan, copies: Mapping[str, Sequence[Copy]], now: float = 0.0
) -> dict[str, AppState]:
    """Return the state of every app that is wanted or still there, by name, in the order of the names.

    ``now``: seconds since the epoch, for what lasts too long: copies that end again and again, or never come up.
    """
    waiting: dict[str, list[str]] = {}
    for action in plan.actions:
        waiting.setdefault(action.resource, []).append(action.waits)
    blocked: dict[str, str] = {}
    for b in plan.blocked:
        blocked.setdefault(b.resource, b.reason)
    instances = {(i.id, v.name): i for v in observed.nodes.values() for i in v.instances}
    names = sorted({*desired.apps, *(name for name, mine in copies.items() if mine)})
    return {
        name: _state(name, desired, observed, plan, list(copies.get(name, ())), waiting, blocked, instances, now)
        for name in names
    }


def _state(
    name: str,
    desired: Desired,
    observed: Observed,
    plan: Plan,
    copies: list[Copy],
    waiting: Mapping[str, list[str]],
    blocked: Mapping[str, str],
    instances: Mapping[tuple[str, str], Instance],
    now: float,
) -> AppState:
    resource = f"app/{name}"
    app = desired.apps.get(name)
    shown = [c for c in copies if not (c.run and c.phase == "exited")]
    copies = [c for c in copies if not c.run]
    running = [c for c in copies if not c.stopping]
    looping = [
        i for c in running if (i := instances.get((c.instance, c.node))) and i.ended_at and is_looping(i.ended_at, now)
    ]
    ill = {(i.id, i.node) for i in looping}
    healthy = [c for c in running if c.healthy and (c.instance, c.node) not in ill]
    deployed = observed.deployed.get(name)
    sync, reason = _sync(resource, name, app, plan, copies, waiting, blocked)
    return AppState(
        app=name,
        sync=sync,
        health=_job_health(observed, name) if app and app.job else _health(app, running, len(healthy), now),
        drift=_drift(running),
        reason=looping_words(looping[0]) if looping and not reason else reason,
        replicas_wanted=app.replicas if app and not app.job else 0,
        replicas_healthy=len(healthy),
        rev_wanted=app.rev if app else "",
        rev_running=_majority(healthy or running),
        commit_compared=desired.commit,
        commit_deployed=deployed.commit if deployed else "",
        instances=tuple(_shown(c, instances.get((c.instance, c.node))) for c in shown),
        path=app.origin.path if app else "",
    )


def _sync(
    resource: str,
    name: str,
    app: App | None,
    plan: Plan,
    copies: Sequence[Copy],
    waiting: Mapping[str, list[str]],
    blocked: Mapping[str, str],
) -> tuple[str, str]:
    note = plan.notes.get(resource, "")
    steps = waiting.get(resource)
    if resource in blocked:
        return "blocked", blocked[resource]
    if note.startswith("held:"):
        return "held", note
    if steps and all(waits.startswith("waits for a person") for waits in steps):
        return "out-of-sync", steps[0]
    if steps:
        return "progressing", next((waits for waits in steps if waits), note)
    if any(c.stopping and not c.lost for c in copies):
        return "progressing", "older copies are stopping"
    if app is not None and any(c.rev == app.rev for c in copies) and (name, app.rev) not in plan.complete:
        starting = next((c for c in copies if not c.stopping and not c.healthy), None)
        return "progressing", note or (starting.detail if starting else "")
    return "synced", note


def _job_health(observed: Observed, name: str) -> str:
    """A job is as healthy as its last run that is over; skipped ones do not count."""
    last = next((r for r in observed.runs.of(name) if r.over and r.state != "skipped" and r.kind != "manual"), None)
    return "healthy" if last is None or last.state == "succeeded" else "degraded"


def _health(app: App | None, running: Sequence[Copy], healthy: int, now: float) -> str:
    wanted = app.replicas if app else len(running)
    if healthy >= wanted:
        return "healthy"
    if any(not c.known and not c.lost for c in running):
        return "unknown"
    patience = app.update.deadline if app else math.inf
    coming = [c for c in running if c.phase in ("pending", "pulling", "starting") or c.health == "starting"]
    # Since it was assigned, or since it was last healthy: a copy that never comes up is no progress for ever.
    if any(now - max(c.since, c.phase_since) < patience for c in coming):
        return "progressing"
    return "degraded" if healthy else "missing"


def _drift(running: Sequence[Copy]) -> str:
    if any(c.drift for c in running):
        return "drifted"
    return "unknown" if any(not c.known for c in running) else "none"


def _majority(copies: Sequence[Copy]) -> str:
    revs = sorted(c.rev for c in copies)
    return max(revs, key=revs.count, default="")


def _phase(c: Copy) -> str:
    if c.stopping:
        return "stopping"
    return "draining" if c.draining and c.healthy else c.phase


def _shown(c: Copy, i: Instance | None) -> Mapping[str, object]:
    return {
        "id": c.instance, "node": c.node, "slot": c.slot, "rev": c.rev, "phase": _phase(c),
        "health": c.health, "healthy": c.healthy, "address": i.address if i else "", "detail": c.detail,
        "since": i.since if i else c.since, "restarts": i.restarts if i else 0, "drift": list(c.drift),
    }  # fmt: skip
