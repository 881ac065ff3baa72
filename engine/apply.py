"""Takes the steps of a plan that are ready: records them and the intents they mean, in one transaction.

The effect of a step is a row that an agent converges to, so writing it is both intent and act: a crash leaves
either all of it or nothing, and a repeated apply of the same plan changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from automator67.engine.apps.revisions import to_spec
from automator67.engine.copies import Copy
from automator67.engine.desired import Desired
from automator67.engine.observed import Assignment, Hold, Observed
from automator67.engine.plan.model import Action, Plan
from automator67.engine.store import intents


def apply(tx: Connection, plan: Plan, desired: Desired, observed: Observed, now: float) -> list[Action]:
    """Record every ready step of ``plan`` and its intent; return the steps taken, in order."""
    taken = [a for a in plan.actions if a.ready]
    _ask(tx, desired, observed, now)
    for action in taken:
        _take(tx, action, desired, now)
    for app, rev in plan.complete:
        last = observed.last_good.get(app)
        if last is None or last.rev != rev:
            intents.mark_healthy(tx, app, rev, now)
    intents.record_actions(tx, desired.commit, taken, now)
    return taken


def settle(tx: Connection, copies: Mapping[str, Iterable[Copy]], now: float) -> bool:
    """Close recorded steps that the nodes have carried out, and drop intents for what is gone.

    Returns whether anything was written. A start is done when its instance runs, a stop when it is gone; a start
    whose instance is no longer wanted is superseded.
    """
    by_place = {(c.instance, c.node): c for mine in copies.values() for c in mine}
    wrote = False
    for c in by_place.values():
        if c.stopping and c.known and not c.present:
            intents.forget_assignment(tx, c.instance, c.node)
            wrote = True
    for row in intents.open_actions(tx):
        state = _outcome(row.verb, by_place.get((row.instance, row.node)))
        if state:
            intents.close_action(tx, row.seq, state, now)
            wrote = True
    return wrote


def _outcome(verb: str, copy: Copy | None) -> str:
    """Return how a recorded step ended, or nothing while it is under way."""
    gone = copy is None or (copy.known and not copy.present)
    if verb == "stop":
        return "done" if gone else ""
    if copy is None or copy.stopping:
        return "superseded"
    return "done" if copy.phase == "running" else ""


def _ask(tx: Connection, desired: Desired, observed: Observed, now: float) -> None:
    """Record what the commit asks for, for every app in whose file something differs from what was asked last."""
    for name, app in desired.apps.items():
        before = observed.deployed.get(name)
        same = before is not None and before.rev == app.rev and before.spec["origin"][1] == app.origin.blob
        if not same and not app.unsupported:
            intents.ask_revision(tx, name, app.rev, desired.commit, to_spec(app), now)


def _take(tx: Connection, action: Action, desired: Desired, now: float) -> None:
    app = action.resource.removeprefix("app/")
    match action.verb:
        case "start" | "adopt" | "keep":
            place = (action.instance, app, action.slot, action.rev, action.node, action.epoch)
            intents.assign(tx, Assignment(*place, "run", now, desired.commit, action.adopt))
        case "stop":
            intents.unassign(tx, action.instance, action.node)
        case "hold":
            blob = desired.apps[app].origin.blob
            intents.hold(tx, Hold(app, action.rev, blob, desired.commit, action.reason, now))
        case "release":
            intents.release(tx, app)
        case "forget":
            intents.forget_app(tx, app)
