"""The short history of what is measured: a point a minute for a day, a point an hour for 30 days.

Two rings of rows: a point takes the place of the one that is a day (30 days) older, so there are never more than
``1440 + 720``. A row holds all measures of its time, compressed: a minute costs one small write, whatever is measured.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from automator67.engine.measures import Measures, Point, mean
from automator67.engine.store.watch_tables import history

MAX_RESOURCES = 2000
"""How many nodes and apps a point has at most; of more, the first by name."""
MAX_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Ring:
    """One resolution: a point each ``step`` seconds, ``count`` of them."""

    step: int
    count: int

    @property
    def seconds(self) -> int:
        """How far it goes back."""
        return self.step * self.count


MINUTES = Ring(60, 1440)
HOURS = Ring(3600, 720)


def put_point(tx: Connection, point: Point, now: float) -> None:
    """Write the point of this minute; when an hour is over, also the means of that hour."""
    last = tx.scalar(
        select(history.c.at).where(history.c.step == MINUTES.step, history.c.at < now).order_by(history.c.at.desc())
    )
    _put(tx, MINUTES, now, point)
    if last is not None and last // HOURS.step != now // HOURS.step:
        hour = last // HOURS.step * HOURS.step
        _put(tx, HOURS, hour, mean(p for _, p in _points(tx, MINUTES, hour, hour + HOURS.step)))


def read_history(tx: Connection, resource: str, since: float, now: float) -> list[tuple[float, Measures]]:
    """Return the measures of a resource since a time, oldest first: by the minute for a day back, else by the hour."""
    ring = MINUTES if now - since <= MINUTES.seconds else HOURS
    points = _points(tx, ring, max(since, now - ring.seconds), now + 1)
    return [(at, point[resource]) for at, point in points if resource in point]


def _put(tx: Connection, ring: Ring, at: float, point: Point) -> None:
    start = at // ring.step * ring.step
    slot = int(start // ring.step) % ring.count
    tx.execute(delete(history).where(history.c.step == ring.step, history.c.slot == slot))
    tx.execute(insert(history).values(step=ring.step, slot=slot, at=start, content=_packed(point)))


def _points(tx: Connection, ring: Ring, since: float, until: float) -> Iterator[tuple[float, Point]]:
    where = (history.c.step == ring.step, history.c.at >= since // ring.step * ring.step, history.c.at < until)
    for row in tx.execute(select(history.c.at, history.c.content).where(*where).order_by(history.c.at)):
        yield row.at, _unpacked(row.content)


def _packed(point: Point) -> bytes:
    kept = {
        resource: {name: float(f"{value:.6g}") for name, value in point[resource].items()}
        # Nodes and the engine before apps: they are few, and a chart of them tells most.
        for resource in sorted(point, key=lambda r: (r.startswith("app/"), r))[:MAX_RESOURCES]
    }
    return zlib.compress(json.dumps(kept, separators=(",", ":")).encode(), 6)


def _unpacked(content: bytes) -> Point:
    # Read by the web process too: a damaged row must not fill its memory.
    point: Point = json.loads(zlib.decompressobj().decompress(content, MAX_BYTES))
    return point
