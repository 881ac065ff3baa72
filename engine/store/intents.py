"""Recorded intents: assignments, revisions, holds, confirmations, and the history of actions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from automator67.engine.jobs import Runs
from automator67.engine.observed import Assignment, Build, Canary, Hold, Revision
from automator67.engine.plan.model import Action
from automator67.engine.store.origins import load_builds
from automator67.engine.store.runs import forget_runs, load_runs
from automator67.engine.store.tables import actions, assignments, canaries, confirmations, holds, revisions
from automator67.engine.store.volumes import load_volumes
from automator67.engine.volumes import VolumeFacts


@dataclass(frozen=True, slots=True)
class OpenAction:
    """A recorded step that a node has not finished."""

    seq: int
    verb: str
    instance: str
    node: str


@dataclass(frozen=True, slots=True)
class Intents:
    """All intents at one moment. ``specs`` has every revision that may still be needed, by (app, rev)."""

    assignments: tuple[Assignment, ...]
    holds: Mapping[str, Hold]
    deployed: Mapping[str, Revision]
    last_good: Mapping[str, Revision]
    specs: Mapping[tuple[str, str], Revision]
    confirmed: frozenset[str]
    open_actions: tuple[OpenAction, ...]
    builds: Mapping[str, Build] = field(default_factory=dict)
    canaries: Mapping[str, Canary] = field(default_factory=dict)
    runs: Runs = field(default_factory=Runs)
    volumes: VolumeFacts = field(default_factory=VolumeFacts)


def load_intents(tx: Connection) -> Intents:
    """Read every intent."""
    deployed: dict[str, Revision] = {}
    good: dict[str, Revision] = {}
    specs: dict[tuple[str, str], Revision] = {}
    for row in tx.execute(select(revisions).order_by(revisions.c.asked_at)):
        revision = Revision(row.app, row.rev, row.commit_id, json.loads(row.spec), row.first_at, row.healthy_at,
                            row.asked_at)  # fmt: skip
        specs[row.app, row.rev] = revision
        if row.asked_at > 0:
            deployed[row.app] = revision
        if revision.healthy_at > 0 and revision.healthy_at >= getattr(good.get(row.app), "healthy_at", 0.0):
            good[row.app] = revision
    return Intents(
        tuple(
            Assignment(
                r.instance,
                r.app,
                r.slot,
                r.rev,
                r.node,
                r.epoch,
                r.want,
                r.since,
                r.commit_id,
                r.adopt,
                r.draining_since,
            )
            for r in tx.execute(select(assignments).order_by(assignments.c.app, assignments.c.slot))
        ),
        {r.app: Hold(r.app, r.rev, r.blob, r.commit_id, r.reason, r.since) for r in tx.execute(select(holds))},
        deployed,
        good,
        specs,
        frozenset(tx.scalars(select(confirmations.c.commit_id))),
        tuple(
            OpenAction(r.seq, r.verb, r.instance, r.node)
            for r in tx.execute(select(actions).where(actions.c.state == "intent").order_by(actions.c.seq))
        ),
        load_builds(tx),
        {r.app: Canary(r.app, r.rev, r.admitted_at, r.promoted_at) for r in tx.execute(select(canaries))},
        load_runs(tx),
        load_volumes(tx),
    )


def assign(tx: Connection, a: Assignment) -> None:
    """Record that an instance runs on a node; an older intent for the same pair is replaced."""
    tx.execute(delete(assignments).where(_pair(a.instance, a.node)))
    tx.execute(
        insert(assignments).values(
            instance=a.instance,
            node=a.node,
            app=a.app,
            slot=a.slot,
            rev=a.rev,
            epoch=a.epoch,
            want=a.want,
            since=a.since,
            commit_id=a.commit,
            adopt=a.adopt,
            draining_since=a.draining_since,
        )
    )


def drain(tx: Connection, instance: str, node: str, now: float) -> None:
    """Record that an instance takes no new requests from now on, while it still runs."""
    tx.execute(update(assignments).where(_pair(instance, node)).values(want="drain", draining_since=now))


def resume(tx: Connection, instance: str, node: str) -> None:
    """Record that an instance that was to stop is wanted again."""
    tx.execute(update(assignments).where(_pair(instance, node)).values(want="run", draining_since=0.0))


def unassign(tx: Connection, instance: str, node: str) -> None:
    """Record that an instance stops on a node; the row stays until the node confirms that it is gone."""
    tx.execute(update(assignments).where(_pair(instance, node)).values(want="stop"))


def forget_assignment(tx: Connection, instance: str, node: str) -> None:
    """Drop the intent for an instance that is gone."""
    tx.execute(delete(assignments).where(_pair(instance, node)))


def ask_revision(tx: Connection, app: str, rev: str, commit: str, spec: Mapping[str, Any], now: float) -> None:
    """Record that ``commit`` asks for a revision; it becomes the app's deployed one."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    where = and_(revisions.c.app == app, revisions.c.rev == rev)
    done = tx.execute(update(revisions).where(where).values(commit_id=commit, spec=text, asked_at=now))
    if done.rowcount == 0:
        tx.execute(
            insert(revisions).values(
                app=app, rev=rev, commit_id=commit, spec=text, first_at=now, asked_at=now, healthy_at=0.0
            )
        )


def mark_healthy(tx: Connection, app: str, rev: str, now: float, keep: int = 10) -> None:
    """Record that every replica of a revision is healthy, and drop all but the ``keep`` newest revisions."""
    where = and_(revisions.c.app == app, revisions.c.rev == rev)
    tx.execute(update(revisions).where(where).values(healthy_at=now))
    used = select(assignments.c.rev).where(assignments.c.app == app)
    newest = select(revisions.c.rev).where(revisions.c.app == app).order_by(revisions.c.asked_at.desc()).limit(keep)
    kept = {*tx.scalars(used), *tx.scalars(newest), rev}
    tx.execute(delete(revisions).where(revisions.c.app == app, revisions.c.rev.not_in(kept)))


def forget_app(tx: Connection, app: str) -> None:
    """Drop the revisions, the hold, the canary and the runs of an app that is gone from the repository."""
    tx.execute(delete(canaries).where(canaries.c.app == app))
    tx.execute(delete(revisions).where(revisions.c.app == app))
    tx.execute(delete(holds).where(holds.c.app == app))
    forget_runs(tx, app)


def hold(tx: Connection, h: Hold) -> None:
    """Record that a revision is not to be tried again; when it is all the same, then from the beginning."""
    release(tx, h.app)
    tx.execute(delete(canaries).where(canaries.c.app == h.app, canaries.c.rev == h.rev))
    tx.execute(
        insert(holds).values(app=h.app, rev=h.rev, blob=h.blob, commit_id=h.commit, reason=h.reason, since=h.since)
    )


def release(tx: Connection, app: str) -> None:
    """Drop the hold of an app."""
    tx.execute(delete(holds).where(holds.c.app == app))


def admit(tx: Connection, app: str, rev: str, now: float) -> None:
    """Record that a revision gets its share of the requests from now on."""
    tx.execute(delete(canaries).where(canaries.c.app == app))
    tx.execute(insert(canaries).values(app=app, rev=rev, admitted_at=now, promoted_at=0.0))


def promote(tx: Connection, app: str, rev: str, now: float) -> None:
    """Record that a revision that has its share of the requests is good enough for all of them."""
    where = and_(canaries.c.app == app, canaries.c.rev == rev)
    tx.execute(update(canaries).where(where).values(promoted_at=now))


def confirm(tx: Connection, commit: str, now: float) -> None:
    """Record that a person confirmed the deletions of a commit."""
    if tx.scalar(select(confirmations.c.commit_id).where(confirmations.c.commit_id == commit)) is None:
        tx.execute(insert(confirmations).values(commit_id=commit, at=now))


def record_actions(tx: Connection, commit: str, taken: Iterable[Action], now: float) -> None:
    """Add actions to the history: those that nodes carry out as ``intent``, the others as ``done``."""
    seq = tx.scalar(select(func.coalesce(func.max(actions.c.seq), 0))) or 0
    for n, a in enumerate(taken, start=seq + 1):
        intent = a.verb in ("start", "stop")
        tx.execute(
            insert(actions).values(
                id=f"{n:010d}",
                seq=n,
                commit_id=commit,
                verb=a.verb,
                resource=a.resource,
                instance=a.instance,
                node=a.node,
                reason=a.reason,
                risk=a.risk,
                state="intent" if intent else "done",
                at=now,
                done_at=None if intent else now,
                error="",
            )
        )


def close_action(tx: Connection, seq: int, state: str, now: float) -> None:
    """Finish a step as ``done`` or ``superseded``."""
    tx.execute(update(actions).where(actions.c.seq == seq).values(state=state, done_at=now))


def _pair(instance: str, node: str) -> Any:
    return and_(assignments.c.instance == instance, assignments.c.node == node)
