"""Reads and writes where volumes are, what is done with them, and their snapshots."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from automator67.engine.store.volume_tables import snapshots, volume_homes, volume_runs
from automator67.engine.volumes import Run, RunState, Snapshot, VolumeFacts, VolumeId

KEPT_RUNS = 20
"""How many ended runs of each kind are remembered for a volume."""


def load_volumes(tx: Connection) -> VolumeFacts:
    """Return what is recorded of all volumes."""
    found: dict[VolumeId, list[Snapshot]] = {}
    for r in tx.execute(select(snapshots).order_by(snapshots.c.at)):
        found.setdefault(VolumeId(r.app, r.slot, r.volume), []).append(Snapshot(r.id, r.at, r.files, r.bytes))
    runs = tuple(_run(r) for r in tx.execute(select(volume_runs).order_by(volume_runs.c.asked_at, volume_runs.c.id)))
    return VolumeFacts(
        {(r.app, r.slot): r.node for r in tx.execute(select(volume_homes))},
        {volume: tuple(listed) for volume, listed in found.items()},
        runs,
    )


def set_home(tx: Connection, app: str, slot: int, node: str, now: float) -> None:
    """Record which node holds the true volumes of a slot."""
    mine = (volume_homes.c.app == app, volume_homes.c.slot == slot)
    if tx.execute(update(volume_homes).where(*mine, volume_homes.c.node == node).values(node=node)).rowcount:
        return
    tx.execute(delete(volume_homes).where(*mine))
    # What was restored there has become the true state.
    drop_runs(tx, app, slot, "failover")
    tx.execute(insert(volume_homes).values(app=app, slot=slot, node=node, since=now))


def want_run(tx: Connection, run: Run) -> bool:
    """Record that something is to be done with a volume; return False when something is already."""
    v = volume_runs.c
    mine = (v.app == run.volume.app, v.slot == run.volume.slot, v.volume == run.volume.volume)
    if run.kind != "aside" and tx.execute(select(v.id).where(*mine, v.state == "wanted", v.kind != "aside")).first():
        return False
    tx.execute(
        insert(volume_runs).values(
            id=run.id, kind=run.kind, app=run.volume.app, slot=run.volume.slot, volume=run.volume.volume,
            node=run.node, state="wanted", reason=run.reason, origin=json.dumps(run.origin), snapshot=run.snapshot,
            asked_at=run.asked_at, started_at=0.0, ended_at=0.0, files=-1, bytes=-1, message="", tries=0,
        )
    )  # fmt: skip
    over = select(v.id).where(*mine, v.kind == run.kind, v.state != "wanted").order_by(v.asked_at.desc())
    old = list(tx.scalars(over.offset(KEPT_RUNS)))
    tx.execute(delete(volume_runs).where(v.id.in_(old)))
    return True


def want_failover(
    tx: Connection, app: str, slot: int, names: Iterable[str], node: str, reason: str, now: float
) -> None:
    """Record that the latest snapshots of a slot's volumes are to be restored on a node.

    What was wanted of them before is given up: it was on a node that is lost.
    """
    v = volume_runs.c
    drop_runs(tx, app, slot, "failover")
    mine = (v.app == app, v.slot == slot, v.state == "wanted", v.kind != "aside")
    tx.execute(update(volume_runs).where(*mine).values(state="failed", ended_at=now, message="its node was lost"))
    facts = load_volumes(tx)
    for name in names:
        volume = VolumeId(app, slot, name)
        latest = facts.latest(volume)
        if latest is not None:
            run = secrets.token_hex(8)
            want_run(tx, Run(run, "failover", volume, node, "wanted", reason, now, volume, latest.id))


def want_aside(tx: Connection, volume: VolumeId, node: str, reason: str, now: float) -> None:
    """Record that a node's older state of a volume is to be set aside."""
    want_run(tx, Run(secrets.token_hex(8), "aside", volume, node, "wanted", reason, now, volume))


def give_up_runs(tx: Connection, app: str, why: str, now: float) -> None:
    """Record that nothing is to be done any more with the volumes of an app; what is known of them stays."""
    where = (volume_runs.c.app == app, volume_runs.c.state == "wanted")
    tx.execute(update(volume_runs).where(*where).values(state="failed", ended_at=now, message=why))


def begin_run(tx: Connection, run: str, now: float) -> None:
    """Record that a node begins with a run, or begins again."""
    v = volume_runs.c
    tx.execute(update(volume_runs).where(v.id == run, v.state == "wanted").values(started_at=now, tries=v.tries + 1))


def note_run(tx: Connection, run: str, message: str) -> None:
    """Record what stands in the way of a run that is still wanted."""
    where = (volume_runs.c.id == run, volume_runs.c.state == "wanted")
    tx.execute(update(volume_runs).where(*where).values(message=message))


def end_run(tx: Connection, run: Run, state: RunState, now: float) -> bool:
    """Record how a run ended, with its snapshot, counts and message; return False when it is wanted no more."""
    where = (volume_runs.c.id == run.id, volume_runs.c.state == "wanted")
    values = {"snapshot": run.snapshot, "files": run.files, "bytes": run.bytes, "message": run.message}
    return tx.execute(update(volume_runs).where(*where).values(state=state, ended_at=now, **values)).rowcount > 0


def drop_runs(tx: Connection, app: str, slot: int, kind: str) -> None:
    """Forget runs of a kind: nobody wants them, or what they brought, any more."""
    v = volume_runs.c
    tx.execute(delete(volume_runs).where(v.app == app, v.slot == slot, v.kind == kind))


def set_snapshots(tx: Connection, volume: VolumeId, listed: Iterable[Snapshot]) -> None:
    """Record what the repository of a volume holds; what was counted of a snapshot before stays."""
    c = snapshots.c
    mine = (c.app == volume.app, c.slot == volume.slot, c.volume == volume.volume)
    before = {r.id: r for r in tx.execute(select(snapshots).where(*mine))}
    tx.execute(delete(snapshots).where(*mine))
    for one in listed:
        known = before.get(one.id)
        counted = replace(one, files=known.files, bytes=known.bytes) if known is not None and one.files < 0 else one
        tx.execute(
            insert(snapshots).values(
                **volume._asdict(), id=counted.id, at=counted.at, files=counted.files, bytes=counted.bytes
            )
        )


def _run(r: Row[Any]) -> Run:
    return Run(
        r.id, r.kind, VolumeId(r.app, r.slot, r.volume), r.node, r.state, r.reason, r.asked_at,
        VolumeId(*json.loads(r.origin)), r.snapshot, r.started_at, r.ended_at, r.files, r.bytes, r.message, r.tries,
    )  # fmt: skip
