"""How much of each month each app was up: 13 months are kept."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, insert, select, update

from automator67.engine.months import month_of
from automator67.engine.store.watch_tables import uptime
from automator67.engine.uptime import Month, Spent

MONTHS = 13


def add_spent(tx: Connection, spent: Mapping[str, Spent], since: float, now: float) -> None:
    """Add what each app spent between two times to its month; what is still undecided is not counted."""
    month, begins, _ = month_of(now)
    c = uptime.c
    for app, s in spent.items():
        mine = (c.app == app, c.month == month)
        more = {"up": c.up + s.up, "down": c.down + s.down, "maintenance": c.maintenance + s.maintenance}
        if tx.execute(update(uptime).where(*mine).values(**more, idle=c.idle + s.idle)).rowcount:
            continue
        values = {"up": s.up, "down": s.down, "maintenance": s.maintenance, "idle": s.idle}
        tx.execute(insert(uptime).values(app=app, month=month, since=max(since, begins), **values))
        old = select(c.month).distinct().order_by(c.month.desc()).offset(MONTHS)
        tx.execute(delete(uptime).where(c.month.in_(list(tx.scalars(old)))))


def months(tx: Connection, now: float) -> list[Month]:
    """Return every month of every app, by app, the newest month first."""
    found = []
    present, _, _ = month_of(now)
    for r in tx.execute(select(uptime).order_by(uptime.c.app, uptime.c.month.desc())):
        ends = now if r.month == present else month_of(r.since)[2]
        rest = ends - r.since - r.up - r.down - r.maintenance - r.idle
        found.append(Month(r.app, r.month, r.since, r.up, r.down, r.maintenance, max(0.0, rest)))
    return found
