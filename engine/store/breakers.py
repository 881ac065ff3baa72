"""How breakers stand, for whoever reads the store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select

from automator67.engine.circuit import Standing
from automator67.engine.store.watch_tables import breakers


def put_standings(tx: Connection, standings: Iterable[Standing]) -> None:
    """Write how all breakers stand, in place of what was there."""
    tx.execute(delete(breakers))
    rows = [asdict(s) for s in standings]
    if rows:
        tx.execute(insert(breakers), rows)


def standings(tx: Connection) -> list[Standing]:
    """Return how all breakers stood when one last changed, by name."""
    return [Standing(**row._mapping) for row in tx.execute(select(breakers).order_by(breakers.c.name))]
