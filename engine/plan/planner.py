"""``plan(desired, observed, now)``: everything that remains to be done, in order, each step with its reason. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from automator67.engine.apps.steps import stays
from automator67.engine.copies import join
from automator67.engine.desired import App, Desired
from automator67.engine.names.wanted import shortcomings
from automator67.engine.nodes.eligibility import misplaced
from automator67.engine.nodes.placement import Decision, Ledger, explain
from automator67.engine.observed import Observed, Revision
from automator67.engine.plan.backups import backup_troubles
from automator67.engine.plan.describe import describe
from automator67.engine.plan.failover import home_of, move_lost, numbered
from automator67.engine.plan.found import Pass
from automator67.engine.plan.model import Action, Blocked, Change, Plan
from automator67.engine.plan.order import dependants_first, dependencies_first
from automator67.engine.plan.pace import paced
from automator67.engine.plan.removal import removals
from automator67.engine.plan.runs import plan_job, plan_runs
from automator67.engine.plan.towards import as_deployed, towards
from automator67.engine.tiers import doubt

SETTLE_LOOK_SECONDS = 0.5
"""How soon to look again while nodes may still report what already runs."""


def plan(desired: Desired, observed: Observed, now: float) -> Plan:
    """Return the ordered rest of the way from ``observed`` to ``desired`` at ``now`` (seconds since the epoch).

    Deterministic: the same arguments give the same plan. Nothing is read or written elsewhere.
    """
    p = Pass(desired, observed, now, _ledger(desired, observed), join(observed))
    _book(p)
    rank = {n: a.priority for n, a in desired.apps.items()}
    for name in dependencies_first({n: a.depends_on for n, a in desired.apps.items()}, rank):
        _plan_app(p, desired.apps[name])
    gone = [n for n in p.copies if n not in desired.apps]
    gone += [n for n in observed.deployed if n not in desired.apps and n not in p.copies]
    _remove(p, dependants_first({n: _depends_on(observed.deployed.get(n)) for n in gone}))
    p.blocked += backup_troubles(p)
    p.actions, wake = paced(p.actions, p.copies, sum(v.state == "healthy" for v in observed.nodes.values()), now)
    p.wake(wake)
    if not observed.settled:
        p.wake(now + SETTLE_LOOK_SECONDS)
    for other in desired.others:
        p.notes[f"{other.kind}/{other.name}"] = "checked; this version does not act on it yet"
    return Plan(
        desired.commit, tuple(p.changes), tuple(p.actions), tuple(p.blocked),
        warnings=_doubts(desired, now), unchanged=p.unchanged, complete=tuple(p.complete), wake_at=p.wake_at,
        notes=p.notes,
    )  # fmt: skip


def _doubts(desired: Desired, now: float) -> tuple[str, ...]:
    """Return what is to be said of providers that nodes rely on: old facts, and what they cannot do."""
    found = {doubt(node.tier, now) for node in desired.nodes.values() if node.tier is not None}
    found |= {shortcomings(node, desired) for node in desired.nodes.values()}
    return tuple(sorted(text for text in found if text))


def why(desired: Desired, observed: Observed, app: App) -> list[Decision]:
    """Return for each slot of an app how every node scores, or why it was refused, as things stand now."""
    ledger = _ledger(desired, observed)
    p = Pass(desired, observed, 0.0, ledger, join(observed))
    _book(p, without=app.name)
    decisions = []
    for slot in range(app.replicas):
        decision = explain(app, slot, ledger, home=home_of(p, app, slot))
        if decision.node is not None:
            ledger.take(app, slot, decision.node)
        decisions.append(decision)
    return decisions


def _ledger(desired: Desired, observed: Observed) -> Ledger:
    return Ledger(desired.nodes, observed.nodes)


def _book(p: Pass, without: str = "") -> None:
    for name, copies in p.copies.items():
        app = p.desired.apps.get(name) or p.deployed_app(name)
        if app is not None and name != without:
            for c in copies:
                if not (c.run and c.phase == "exited"):
                    p.ledger.take(app, c.slot, c.node)


def _plan_app(p: Pass, app: App) -> None:
    resource = f"app/{app.name}"
    copies = p.replicas(app.name)
    plan_runs(p, app)
    if app.blocked:
        p.blocked.append(Blocked(resource, f"{app.blocked}; what runs is left as it is"))
        p.actions += stays(copies, "what runs is left as it is")
        return
    if app.awaits:
        as_deployed(p, app, copies)
        return
    if app.job is not None:
        plan_job(p, app, app.job)
        return
    hold = p.observed.holds.get(app.name)
    if hold is not None and (hold.blob != app.origin.blob or hold.rev != app.rev):
        what = app.origin.path if hold.blob != app.origin.blob else "a secret or a source it uses"
        p.actions.append(Action(f"release:{resource}", "release", resource, f"a new commit changed {what}"))
        hold = None
    if not copies and app.adopt is not None and (adoption := _adoption(p, app)) is not None:
        p.actions.append(adoption)
        p.changes.append(Change(resource, "adopt", (adoption.reason,)))
        return
    rollout, target = towards(p, app, move_lost(p, app, copies), hold)
    p.actions += numbered(p, rollout.actions, copies)
    p.blocked += [Blocked(resource, text) for text in dict.fromkeys(rollout.blocked)]
    p.wake(rollout.wake_at)
    if rollout.ready >= target.replicas:
        p.healthy.add(app.name)
    if rollout.complete:
        p.complete.append((app.name, target.rev))
    drifted = [f"{c.instance}: {text}" for c in copies for text in c.drift]
    if drifted and app.drift != "off":
        tail = "being repaired" if app.drift == "repair" else "only reported, as drift: report says"
        p.notes[resource] = f"drift: {'; '.join(drifted)} ({tail})"
    change = describe(app, copies, rollout.actions, p.observed.deployed.get(app.name))
    if change is None:
        p.unchanged += 1
    else:
        p.changes.append(change)


def _adoption(p: Pass, app: App) -> Action | None:
    for name, view in sorted(p.observed.nodes.items()):
        if view.state != "healthy" or misplaced(app, p.desired.nodes.get(name), name):
            continue
        for container in view.foreign:
            if container.name == app.adopt:
                same = container.image in (app.image, (app.image or "").partition("@")[0])
                rev = app.rev if same else "adopted"
                tail = "" if same else f"; it runs {container.image} and will be replaced by {app.image}"
                return Action(
                    f"adopt:{app.name}@{name}", "adopt", f"app/{app.name}",
                    f"container {container.name} on {name} is taken over as it is{tail}",
                    instance=f"{app.name}-0-{rev}", node=name, rev=rev, epoch=1, adopt=container.name,
                )  # fmt: skip
    return None


def _remove(p: Pass, names: Sequence[str]) -> None:
    changes, rollout = removals(
        names, p.copies, p.observed.deployed, p.desired.settings.max_deletions, p.now,
        confirmed=p.desired.commit in p.observed.confirmed,
    )  # fmt: skip
    p.changes += changes
    p.actions += rollout.actions
    p.wake(rollout.wake_at)


def _depends_on(revision: Revision | None) -> tuple[str, ...]:
    return tuple(revision.spec.get("depends_on", ())) if revision else ()
