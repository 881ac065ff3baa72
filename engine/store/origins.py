"""Reads and writes what names meant and what was built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, delete, insert, select, update

from automator67.engine.images.pins import Pin
from automator67.engine.observed import Build
from automator67.engine.store.origin_tables import builds, pins

KEPT_BUILDS = 20
"""How many builds of an app are remembered."""


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """A build with its times (seconds since the epoch, 0: not yet)."""

    build: Build
    asked_at: float
    started_at: float
    ended_at: float


def load_pins(tx: Connection) -> dict[str, Pin]:
    """Return what names mean, by app."""
    return {r.app: Pin(r.app, r.reference, r.value, r.error, r.blob, r.at) for r in tx.execute(select(pins))}


def save_pins(tx: Connection, found: Iterable[Pin]) -> None:
    """Record what was looked up."""
    for pin in found:
        tx.execute(delete(pins).where(pins.c.app == pin.app))
        tx.execute(
            insert(pins).values(
                app=pin.app, reference=pin.reference, value=pin.value, error=pin.error, blob=pin.blob, at=pin.at
            )
        )


def forget_pins(tx: Connection, app: str) -> None:
    """Drop what is known of an app that is gone, its builds too."""
    tx.execute(delete(pins).where(pins.c.app == app))
    tx.execute(delete(builds).where(builds.c.app == app))


def load_builds(tx: Connection) -> dict[str, Build]:
    """Return what is known of images that are built, by their names."""
    rows = tx.execute(select(builds))
    return {r.image: Build(r.image, r.app, r.source_commit, r.node, r.state, r.error) for r in rows}


def build_records(tx: Connection, app: str) -> list[BuildRecord]:
    """Return the builds of an app, the newest first."""
    rows = tx.execute(select(builds).where(builds.c.app == app).order_by(builds.c.asked_at.desc()))
    return [
        BuildRecord(Build(r.image, r.app, r.source_commit, r.node, r.state, r.error),
                    r.asked_at, r.started_at, r.ended_at)
        for r in rows
    ]  # fmt: skip


def want_build(tx: Connection, build: Build, now: float) -> None:
    """Record that an image is to be built on a node; what the same app waited for before is given up."""
    mine = builds.c.app == build.app
    tx.execute(delete(builds).where(mine, builds.c.state == "wanted"))
    tx.execute(delete(builds).where(builds.c.image == build.image))
    kept = select(builds.c.image).where(mine).order_by(builds.c.asked_at.desc()).limit(KEPT_BUILDS - 1)
    newest = set(tx.scalars(kept))
    tx.execute(delete(builds).where(mine, builds.c.image.not_in(newest)))
    tx.execute(
        insert(builds).values(
            image=build.image, app=build.app, source_commit=build.commit, node=build.node, state="wanted", asked_at=now,
            started_at=0.0, ended_at=0.0, error="",
        )
    )  # fmt: skip


def start_build(tx: Connection, image: str, now: float) -> None:
    """Record that the node has begun."""
    tx.execute(update(builds).where(builds.c.image == image, builds.c.state == "wanted").values(started_at=now))


def end_build(tx: Connection, image: str, state: Literal["done", "failed"], error: str, now: float) -> bool:
    """Record how a build ended; return False when nobody waits for it any more."""
    where = (builds.c.image == image, builds.c.state == "wanted")
    return tx.execute(update(builds).where(*where).values(state=state, error=error, ended_at=now)).rowcount > 0


def forget_build(tx: Connection, image: str) -> None:
    """Drop a build whose image is nowhere any more, so that it is built again."""
    tx.execute(delete(builds).where(builds.c.image == image, builds.c.state == "done"))
