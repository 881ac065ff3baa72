"""Which revision of an app is rolled to: the wanted one by its strategy, or the last good one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from automator67.engine.apps.beside import beside, is_beside, tried_copies
from automator67.engine.apps.building import building
from automator67.engine.apps.revisions import from_spec
from automator67.engine.apps.rollout import roll
from automator67.engine.apps.steps import Placed, Prior, Rollout, keeps, stays
from automator67.engine.capabilities import in_place
from automator67.engine.copies import Copy
from automator67.engine.desired import App
from automator67.engine.nodes.eligibility import misplaced
from automator67.engine.nodes.placement import place
from automator67.engine.observed import Hold
from automator67.engine.plan.describe import describe, how_changed
from automator67.engine.plan.failover import home_of
from automator67.engine.plan.found import Pass
from automator67.engine.plan.model import Action, Blocked
from automator67.engine.plan.runs import prior


def as_deployed(p: Pass, app: App, copies: list[Copy]) -> None:
    """Keep what was deployed, since what the commit asks for is not known yet."""
    resource = f"app/{app.name}"
    deployed, hold = p.deployed_app(app.name), p.observed.holds.get(app.name)
    if deployed is not None and hold is not None and hold.rev == deployed.rev:
        good = p.observed.last_good.get(app.name)
        deployed = from_spec(good.spec) if good else None
    rollout = Rollout(stays(copies, app.awaits)) if deployed is None else _roll_to(p, deployed, copies, True, "")
    steps = rollout.actions
    p.actions += steps
    p.wake(rollout.wake_at)
    change = describe(app, copies, steps, p.observed.deployed.get(app.name))
    p.changes += [change] if change else []
    p.unchanged += 0 if change else 1
    if app.awaits.startswith("waits"):
        p.actions.append(Action(f"look:{resource}", "look", resource, f"{app.origin.path} names it", waits=app.awaits))
    else:
        p.blocked.append(Blocked(resource, app.awaits))


def towards(p: Pass, app: App, copies: list[Copy], hold: Hold | None) -> tuple[Rollout, App]:
    """Roll towards the wanted revision, or back to the last good one when the wanted one is held or fails now."""
    good = p.observed.last_good.get(app.name)
    resource = f"app/{app.name}"
    if hold is None:
        proven = good is not None and good.rev == app.rev
        made = building(app, p.observed.builds, p.desired.nodes, p.observed.nodes)
        if made.failed and not proven:
            rollout = Rollout(failed=made.failed)
        else:
            held_back = made.gate or p.gate(app)
            first = prior(p, app) if not (proven or held_back) else Prior()
            if first.failed:
                rollout = Rollout(failed=first.failed)
            else:
                held_back = held_back or first.gate
                rollout = _roll_to(p, app, copies, True, held_back) if proven else _roll_on(p, app, copies, held_back)
            rollout.actions[:0] = [a for a in (made.action, first.action) if a]
        if not rollout.failed:
            return rollout, app
        if good is None or good.rev == app.rev:
            p.notes[resource] = f"{rollout.failed}; there is no earlier healthy revision to go back to"
            return left_alone(rollout, copies), app
        p.actions.append(Action(f"hold:{resource}@{app.rev}", "hold", resource, rollout.failed, rev=app.rev))
        reason = rollout.failed
    else:
        reason = hold.reason
        if good is None or good.rev == app.rev:
            return Rollout(stays(copies, f"held: {reason}")), app
    p.notes[resource] = f"held: {reason}; revision {good.rev} runs until a commit changes {app.origin.path}"
    last = from_spec(good.spec)
    back = replace(
        last, replicas=app.replicas, place=app.place, drift=app.drift, depends_on=app.depends_on,
        domains=app.domains, sites=app.sites, backups=app.backups,
    )  # fmt: skip
    return _roll_to(p, back, copies, True, ""), back


def _roll_on(p: Pass, app: App, copies: list[Copy], gate: str) -> Rollout:
    """Roll towards a revision that was never proven, by the app's strategy."""
    canary = p.observed.canaries.get(app.name)
    if not is_beside(app, copies, canary, p.now):
        return _roll_to(p, app, copies, False, gate)
    good = p.observed.last_good.get(app.name)
    old = [c for c in copies if c.rev != app.rev]
    stable = Rollout(keeps(old))
    if good is not None:
        last = replace(from_spec(good.spec), domains=app.domains, sites=app.sites)
        stable = _roll_to(p, last, old, True, "")
    tried = replace(app, replicas=tried_copies(app))
    ahead = _roll_to(p, tried, [c for c in copies if c.rev == app.rev], False, gate)
    return beside(app, copies, stable, ahead, canary, p.now)


def left_alone(rollout: Rollout, copies: Sequence[Copy]) -> Rollout:
    """Return a failed rollout that leaves everything as it is, since there is nothing better to run."""
    return Rollout(stays(copies, rollout.failed), ready=rollout.ready)


def _roll_to(p: Pass, app: App, copies: list[Copy], proven: bool, gate: str) -> Rollout:
    def placer(slot: int, only: str | None) -> Placed:
        only = only or home_of(p, app, slot)
        others = frozenset(n for n in p.desired.nodes if n != only) if only else frozenset()
        decision = place(app, slot, p.ledger, prefer_node=only, exclude=others)
        if decision.node is not None:
            p.ledger.take(app, slot, decision.node)
        return Placed(decision.node, decision.reason)

    def differs(rev: str) -> str:
        good = p.observed.last_good.get(app.name)
        return how_changed(good.spec, app) if good and good.rev == rev else ""

    return roll(
        app, copies, now=p.now, place=placer, proven=proven, gate=gate, differs=differs,
        told_since=p.observed.engine_started,
        misplaced=lambda node: misplaced(app, p.desired.nodes.get(node), node),
        in_place=lambda node: node in p.desired.nodes and in_place(p.desired.nodes[node].kind),
    )  # fmt: skip
