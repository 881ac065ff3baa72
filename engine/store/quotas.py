"""What accounts have used in their periods, and how they stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from sqlalchemy import Connection, delete, insert, select, update

from automator67.engine.quotas import Quota
from automator67.engine.store.watch_tables import account_hours, quotas


def add_hours(tx: Connection, seconds: Mapping[str, float], month: str, since: float) -> dict[str, tuple[float, float]]:
    """Add to how long copies ran at each account in a month; return by account (hours so far, since when counted)."""
    c = account_hours.c
    tx.execute(delete(account_hours).where(c.month != month))
    for node, more in seconds.items():
        if tx.execute(update(account_hours).where(c.node == node).values(seconds=c.seconds + more)).rowcount == 0:
            tx.execute(insert(account_hours).values(node=node, month=month, since=since, seconds=more))
    return {r.node: (r.seconds / 3600, r.since) for r in tx.execute(select(account_hours))}


def put_quotas(tx: Connection, found: Iterable[Quota]) -> None:
    """Write how all accounts stand, in place of what was there."""
    tx.execute(delete(quotas))
    rows = [asdict(q) for q in found]
    if rows:
        tx.execute(insert(quotas), rows)


def read_quotas(tx: Connection) -> list[Quota]:
    """Return how all accounts stand, by name."""
    return [Quota(**r._mapping) for r in tx.execute(select(quotas).order_by(quotas.c.node, quotas.c.resource))]
