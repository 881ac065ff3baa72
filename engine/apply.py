"""Takes the steps of a plan that are ready: records them and the intents they mean, in one transaction.

The effect of a step is a row that an agent converges to, so writing it is both intent and act: a crash leaves
either all of it or nothing, and a repeated apply changes nothing. ``work`` decides, ``write`` writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from automator67.engine.apps.revisions import same_source, to_spec
from automator67.engine.copies import Copy
from automator67.engine.desired import App, Desired
from automator67.engine.observed import Assignment, Build, Hold, Observed
from automator67.engine.plan.model import Action, Plan
from automator67.engine.store import intents, origins, volumes
from automator67.engine.store.intents import OpenAction
from automator67.engine.store.runs import save_run
from automator67.engine.volumes import VolumeId


@dataclass(frozen=True, slots=True)
class Work:
    """What one pass has to write.

    ``taken``: steps of the plan; ``asked``: apps whose file differs from what was asked last; ``healthy``: (app,
    revision) pairs that are proven now; ``closed``: recorded steps (seq, state) that ended; ``gone``: (instance,
    node) pairs that stopped as intended.
    """

    taken: tuple[Action, ...] = ()
    asked: tuple[App, ...] = ()
    healthy: tuple[tuple[str, str], ...] = ()
    closed: tuple[tuple[int, str], ...] = ()
    gone: tuple[tuple[str, str], ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.taken or self.asked or self.healthy or self.closed or self.gone)


def work(
    plan: Plan,
    desired: Desired,
    observed: Observed,
    copies: Mapping[str, Iterable[Copy]],
    open_actions: Sequence[OpenAction],
) -> Work:
    """Return what has to be written so that the plan's ready steps are taken. Pure."""
    stopping = [c for mine in copies.values() for c in mine if c.stopping]
    by_place: dict[tuple[str, str], Copy] = {}
    if open_actions:
        by_place = {(c.instance, c.node): c for mine in copies.values() for c in mine}
    ended = ((a.seq, _outcome(a.verb, by_place.get((a.instance, a.node)))) for a in open_actions)
    return Work(
        taken=tuple(a for a in plan.actions if a.ready),
        asked=tuple(app for app in desired.apps.values() if app.actionable and _asks(app, observed)),
        healthy=tuple(pair for pair in plan.complete if _last_good(observed, pair[0]) != pair[1]),
        closed=tuple((seq, state) for seq, state in ended if state),
        gone=tuple((c.instance, c.node) for c in stopping if c.known and not c.present),
    )


def write(tx: Connection, todo: Work, desired: Desired, now: float) -> None:
    """Write what ``work`` found. Call it inside one write transaction."""
    for seq, state in todo.closed:
        intents.close_action(tx, seq, state, now)
    for instance, node in todo.gone:
        intents.forget_assignment(tx, instance, node)
    for app in todo.asked:
        intents.ask_revision(tx, app.name, app.rev, desired.commit, to_spec(app), now)
    for action in todo.taken:
        _take(tx, action, desired, now)
    for name, rev in todo.healthy:
        intents.mark_healthy(tx, name, rev, now)
    intents.record_actions(tx, desired.commit, todo.taken, now)


def _asks(app: App, observed: Observed) -> bool:
    before = observed.deployed.get(app.name)
    return before is None or before.rev != app.rev or not same_source(before.spec, app)


def _last_good(observed: Observed, app: str) -> str:
    good = observed.last_good.get(app)
    return good.rev if good else ""


def _outcome(verb: str, copy: Copy | None) -> str:
    """Return how a recorded step ended, or nothing while it is under way."""
    gone = copy is None or (copy.known and not copy.present)
    if verb == "stop":
        return "done" if gone else ""
    if copy is None or copy.stopping:
        return "superseded"
    return "done" if copy.phase == "running" else ""


def _take(tx: Connection, action: Action, desired: Desired, now: float) -> None:
    app = action.resource.removeprefix("app/")
    match action.verb:
        case "start" | "adopt" | "keep":
            place = (action.instance, app, action.slot, action.rev, action.node, action.epoch)
            intents.assign(tx, Assignment(*place, "run", now, desired.commit, action.adopt))
            if app in desired.apps and desired.apps[app].pinned:
                volumes.set_home(tx, app, action.slot, action.node, now)
            if action.run is not None:
                save_run(tx, action.run)
        case "run" | "skip" | "finish":
            assert action.run is not None
            save_run(tx, action.run)
            if action.verb == "run":
                place = (action.instance, app, 0, action.rev, action.node, action.epoch)
                intents.assign(tx, Assignment(*place, "run", now, desired.commit))
        case "drain":
            intents.drain(tx, action.instance, action.node, now)
        case "resume":
            intents.resume(tx, action.instance, action.node)
        case "stop":
            intents.unassign(tx, action.instance, action.node)
        case "admit":
            intents.admit(tx, app, action.rev, now)
        case "promote":
            intents.promote(tx, app, action.rev, now)
        case "hold":
            blob = desired.apps[app].origin.blob
            intents.hold(tx, Hold(app, action.rev, blob, desired.commit, action.reason, now))
        case "release":
            intents.release(tx, app)
        case "forget":
            intents.forget_app(tx, app)
            origins.forget_pins(tx, app)
            volumes.give_up_runs(tx, app, "the app is gone", now)
        case "restore":
            names = [v.name for v in desired.apps[app].volumes]
            volumes.want_failover(tx, app, action.slot, names, action.node, action.reason, now)
        case "recall":
            volumes.drop_runs(tx, app, action.slot, "failover")
        case "aside":
            for v in desired.apps[app].volumes:
                volumes.want_aside(tx, VolumeId(app, action.slot, v.name), action.node, action.reason, now)
        case "build":
            wanted = desired.apps[app]
            assert wanted.image is not None
            assert wanted.source is not None
            build = Build(wanted.image, app, wanted.source.commit, action.node, "wanted")
            origins.want_build(tx, build, now)
