"""Replaces the copies of an app of which a slot never runs twice: it has volumes, or is exclusive. Pure.

The old copy of a slot stops before the new one starts; one slot after the other, so that the others serve meanwhile.
With a volume it stays on the node that holds it. Without, it may move: when the old copy is known to be gone, or its
node is lost and must have stopped it, since its lease is over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from automator67.engine.apps.steps import Placer, Rollout, later, leave, on_node, risk_of, start, step, why_start
from automator67.engine.copies import Copy
from automator67.engine.desired import App
from automator67.engine.plan.model import Action

Reasoned = list[tuple[Copy, str]]
"""Copies that must go, each with why."""


def restart_in_place(
    app: App,
    copies: Sequence[Copy],
    good: Mapping[int, Copy],
    bad: Reasoned,
    ready: set[int],
    *,
    now: float,
    told_since: float,
    place: Placer,
    gate: str,
    out: Rollout,
) -> None:
    """Add the steps that replace the old copies of each slot where they are."""
    busy = ""
    for slot, c in sorted(good.items()):
        until = max(c.since, c.appeared_at, told_since) + app.update.deadline
        if slot not in ready and not c.lost and now < until:
            busy = busy or c.instance
            out.wake(until)
    serving = {c.slot for c, _ in bad if c.serving}
    for slot in sorted(set(range(app.replicas)) - set(good), key=lambda s: (s in serving, s)):
        olds = [(c, why) for c, why in bad if c.slot == slot]
        away = next((c for c in copies if c.slot == slot and c.lost and (app.pinned or now < c.fenced_at)), None)
        if away is not None:
            if app.failover == "wait":
                out.blocked.append(_awaits(app, away))
            out.wake(0.0 if app.pinned or math.isinf(away.fenced_at) else away.fenced_at)
            continue
        action = start(app, slot, copies, why_start(app, slot, copies, bad), risk_of([c for c, _ in olds]), ())
        if gate:
            out.actions += [*_resumes(olds, gate), later(action, gate)]
            continue
        home = next((c.node for c in copies if c.slot == slot), None) if app.pinned else None
        where = place(slot, home)
        if where.node is None:
            out.actions += _resumes(olds, "it cannot be replaced now")
            out.blocked.append(f"{action.instance} must stay with its volume on {home}: {where.reason}"
                               if home else f"no node can take {action.instance}: {where.reason}")  # fmt: skip
            continue
        if busy and any(c.serving for c, _ in olds):
            waits = f"waits for {busy} to be healthy"
            out.actions += [later(step("stop", c, why, risk="restarts"), waits) for c, why in olds]
            out.actions.append(later(on_node(action, where.node, where.reason), waits))
            continue
        busy = busy or action.instance
        # Copies on one node leave and come in the right order by the agent's care for their volume.
        still = next((c for c in copies if c.slot == slot and not c.lost and not app.pinned), None)
        if still is not None:
            action = later(action, f"waits for {still.instance} on node {still.node} to be gone")
        _replace(app, action, olds, where.node, where.reason, now, out)
    for c, why in bad:
        if c.slot >= app.replicas or c.slot in good:
            steps, wake = leave(c, why, app.drain, now)
            out.actions += steps
            out.wake(wake)


def _replace(app: App, action: Action, olds: Reasoned, node: str, why_there: str, now: float, out: Rollout) -> None:
    stops: list[Action] = []
    for c, why in olds:
        steps, wake = leave(c, why, app.drain, now, risk="restarts")
        out.actions += steps
        out.wake(wake)
        stops.append(steps[-1])
    new = on_node(action, node, why_there, tuple(s.id for s in stops))
    waits = next((s.waits for s in stops if s.waits), action.waits)
    out.actions.append(later(new, waits) if waits else new)


def _awaits(app: App, away: Copy) -> str:
    if app.pinned:
        return f"{app.name} waits for node {away.node}, which holds its volume and is unavailable"
    return f"{app.name} must not run twice: it waits until node {away.node}, which is unavailable, must have stopped it"


def _resumes(olds: Reasoned, why: str) -> list[Action]:
    return [step("resume", c, why) for c, _ in olds if c.draining]
