"""``plan(desired, observed, now)``: everything that remains to be done, in order, each step with its reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from automator67.engine.apps.building import building
from automator67.engine.apps.revisions import from_spec
from automator67.engine.apps.rollout import roll
from automator67.engine.apps.steps import Placed, Rollout, stays
from automator67.engine.capabilities import in_place
from automator67.engine.copies import Copy, join
from automator67.engine.desired import App, Desired
from automator67.engine.nodes.eligibility import misplaced
from automator67.engine.nodes.placement import Decision, Ledger, explain, place
from automator67.engine.observed import Hold, Observed, Revision
from automator67.engine.plan.describe import describe, how_changed
from automator67.engine.plan.model import Action, Blocked, Change, Plan
from automator67.engine.plan.order import dependants_first, dependencies_first
from automator67.engine.plan.removal import removals

SETTLE_LOOK_SECONDS = 0.5
"""How soon to look again while nodes may still report what already runs."""


@dataclass(slots=True)
class _Pass:
    """What one planning pass has found so far."""

    desired: Desired
    observed: Observed
    now: float
    ledger: Ledger
    copies: Mapping[str, list[Copy]]
    changes: list[Change] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    healthy: set[str] = field(default_factory=set)
    complete: list[tuple[str, str]] = field(default_factory=list)
    unchanged: int = 0
    wake_at: float = 0.0

    def wake(self, at: float) -> None:
        """Ask for another pass at a time (0: time changes nothing)."""
        if at:
            self.wake_at = min(self.wake_at or at, at)


def plan(desired: Desired, observed: Observed, now: float) -> Plan:
    """Return the ordered rest of the way from ``observed`` to ``desired`` at ``now`` (seconds since the epoch).

    Deterministic: the same arguments give the same plan. Nothing is read or written elsewhere.
    """
    p = _Pass(desired, observed, now, _ledger(desired, observed), join(observed))
    _book(p)
    for name in dependencies_first({n: a.depends_on for n, a in desired.apps.items()}):
        _plan_app(p, desired.apps[name])
    gone = [n for n in p.copies if n not in desired.apps]
    gone += [n for n in observed.deployed if n not in desired.apps and n not in p.copies]
    _remove(p, dependants_first({n: _depends_on(observed.deployed.get(n)) for n in gone}))
    if not observed.settled:
        p.wake(now + SETTLE_LOOK_SECONDS)
    for other in desired.others:
        p.notes[f"{other.kind}/{other.name}"] = "checked; this version does not act on it yet"
    return Plan(
        desired.commit, tuple(p.changes), tuple(p.actions), tuple(p.blocked),
        unchanged=p.unchanged, complete=tuple(p.complete), wake_at=p.wake_at, notes=p.notes,
    )  # fmt: skip


def why(desired: Desired, observed: Observed, app: App) -> list[Decision]:
    """Return for each slot of an app how every node scores, or why it was refused, as things stand now."""
    ledger = _ledger(desired, observed)
    p = _Pass(desired, observed, 0.0, ledger, join(observed))
    _book(p, without=app.name)
    decisions = []
    for slot in range(app.replicas):
        decision = explain(app, slot, ledger)
        if decision.node is not None:
            ledger.take(app, slot, decision.node)
        decisions.append(decision)
    return decisions


def _ledger(desired: Desired, observed: Observed) -> Ledger:
    return Ledger(desired.nodes, observed.nodes)


def _book(p: _Pass, without: str = "") -> None:
    for name, copies in p.copies.items():
        app = p.desired.apps.get(name) or _deployed_app(p.observed, name)
        if app is not None and name != without:
            for c in copies:
                p.ledger.take(app, c.slot, c.node)


def _plan_app(p: _Pass, app: App) -> None:
    resource = f"app/{app.name}"
    copies = p.copies.get(app.name, [])
    if app.unsupported:
        keys = ", ".join(app.unsupported)
        p.blocked.append(Blocked(resource, f"this version cannot act on {keys} yet; what runs is left as it is"))
        p.actions += stays(copies, "what runs is left as it is")
        return
    if app.blocked:
        p.blocked.append(Blocked(resource, f"{app.blocked}; what runs is left as it is"))
        p.actions += stays(copies, "what runs is left as it is")
        return
    if app.awaits:
        _as_deployed(p, app, copies)
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
    rollout, target = _roll(p, app, copies, hold)
    p.actions += rollout.actions
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


def _as_deployed(p: _Pass, app: App, copies: list[Copy]) -> None:
    """Keep what was deployed, since what the commit asks for is not known yet."""
    resource = f"app/{app.name}"
    deployed = _deployed_app(p.observed, app.name)
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


def _roll(p: _Pass, app: App, copies: list[Copy], hold: Hold | None) -> tuple[Rollout, App]:
    """Roll towards the wanted revision, or back to the last good one when the wanted one is held or fails now."""
    good = p.observed.last_good.get(app.name)
    resource = f"app/{app.name}"
    if hold is None:
        proven = good is not None and good.rev == app.rev
        made = building(app, p.observed.builds, p.desired.nodes, p.observed.nodes)
        if made.failed and not proven:
            rollout = Rollout(failed=made.failed)
        else:
            rollout = _roll_to(p, app, copies, proven, made.gate or _gate(p, app))
            rollout.actions[:0] = [made.action] if made.action else []
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
        last,
        replicas=app.replicas,
        place=app.place,
        drift=app.drift,
        depends_on=app.depends_on,
        domains=app.domains,
        sites=app.sites,
    )
    return _roll_to(p, back, copies, True, ""), back


def left_alone(rollout: Rollout, copies: Sequence[Copy]) -> Rollout:
    """Return a failed rollout that leaves everything as it is, since there is nothing better to run."""
    return Rollout(stays(copies, rollout.failed), ready=rollout.ready)


def _roll_to(p: _Pass, app: App, copies: list[Copy], proven: bool, gate: str) -> Rollout:
    def placer(slot: int, only: str | None) -> Placed:
        others = frozenset(n for n in p.desired.nodes if n != only) if only else frozenset()
        decision = place(app, slot, p.ledger, prefer_node=only or _volume_node(p, app, slot), exclude=others)
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


def _volume_node(p: _Pass, app: App, slot: int) -> str | None:
    if not app.pinned:
        return None
    return next((n for n, v in sorted(p.observed.nodes.items()) if (app.name, slot) in v.volumes), None)


def _gate(p: _Pass, app: App) -> str:
    if not p.observed.settled:
        return "waits a moment for nodes to report what already runs"
    waiting = [f"app/{d}" for d in app.depends_on if d not in p.healthy]
    return f"waits for {', '.join(waiting)} to be healthy" if waiting else ""


def _adoption(p: _Pass, app: App) -> Action | None:
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


def _remove(p: _Pass, names: Sequence[str]) -> None:
    changes, rollout = removals(
        names, p.copies, p.observed.deployed, p.desired.settings.max_deletions, p.now,
        confirmed=p.desired.commit in p.observed.confirmed,
    )  # fmt: skip
    p.changes += changes
    p.actions += rollout.actions
    p.wake(rollout.wake_at)


def _deployed_app(observed: Observed, name: str) -> App | None:
    revision = observed.deployed.get(name)
    return from_spec(revision.spec) if revision else None


def _depends_on(revision: Revision | None) -> tuple[str, ...]:
    return tuple(revision.spec.get("depends_on", ())) if revision else ()
