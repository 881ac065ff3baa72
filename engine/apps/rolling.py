"""Replaces copies one after the other: starts beside the old ones, and stops of what is no longer needed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automator67.engine.apps.steps import Placer, Rollout, later, leave, on_node, risk_of, start, step, why_start
from automator67.engine.copies import Copy
from automator67.engine.desired import App
from automator67.engine.plan.model import Risk
from automator67.schemas.units import human_seconds


def starts(
    app: App,
    copies: Sequence[Copy],
    good: Mapping[int, Copy],
    bad: list[tuple[Copy, str]],
    place: Placer,
    gate: str,
    out: Rollout,
) -> bool:
    """Add the starts of missing slots; return True when there is no room beside the copies that still run."""
    # Copies that do not serve are stopped at once (see stops), so they take no room from new ones.
    old = [c for c, _ in bad if not c.lost and (c.healthy or not c.known)]
    room = app.replicas + app.update.max_extra - len(good) - len(old)
    squeezed = False
    previous: tuple[str, ...] = ()
    for slot in range(app.replicas):
        if slot in good:
            continue
        reason, risk = why_start(app, slot, copies, bad), risk_of(old)
        action = start(app, slot, copies, reason, risk, previous)
        previous = (action.id,)
        if gate:
            out.actions.append(later(action, gate))
        elif old and room <= 0:
            squeezed = squeezed or (app.update.max_extra == 0)
            out.actions.append(later(action, "waits for an older copy to stop"))
        else:
            where = place(slot, None)
            if where.node is not None:
                room -= 1
                out.actions.append(on_node(action, where.node, where.reason))
            elif old:
                squeezed = True
                out.actions.append(later(action, f"waits for an older copy to stop: {where.reason}"))
            else:
                out.blocked.append(f"no node can take {action.instance}: {where.reason}")
    return squeezed


def stops(
    app: App,
    good: Mapping[int, Copy],
    bad: list[tuple[Copy, str]],
    ready: set[int],
    squeezed: bool,
    now: float,
    out: Rollout,
) -> None:
    """Add the steps that take old copies away, as far as enough others serve; those needed again resume."""
    if not bad:
        return
    serving = len(ready) + sum(1 for c, _ in bad if c.serving)
    floor = app.replicas - 1 if squeezed else app.replicas
    first = () if squeezed else tuple(a.id for a in out.actions if a.verb == "start")
    waiting = next((g.instance for s, g in sorted(good.items()) if s not in ready), "")
    needed = f"waits for {waiting or f'a copy of revision {app.rev}'} to be healthy"
    if app.update.healthy_for:
        needed += f" for {human_seconds(app.update.healthy_for)}"
    order = sorted(bad, key=lambda b: (not b[0].lost, b[0].healthy, not b[0].draining, b[0].slot, b[0].instance))
    for c, why in order:
        if not (c.known or c.lost):
            out.actions.append(later(step("stop", c, why), f"waits for node {c.node} to report"))
            continue
        spare = len(ready) == app.replicas or serving - c.serving >= floor
        if c.healthy and not spare:
            if c.draining:
                serving += 1
                out.actions.append(step("resume", c, "too few other copies serve"))
            out.actions.append(later(step("stop", c, why, after=first), needed))
            continue
        serving -= c.serving
        risk: Risk = "restarts" if squeezed and c.healthy else "safe"
        steps, wake = leave(c, why, app.drain, now, risk=risk, after=first if c.healthy else ())
        out.actions += steps
        out.wake(wake)
