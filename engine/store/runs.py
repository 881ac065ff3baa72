"""Reads and writes the runs of apps."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select, update

from automator67.engine.jobs import Run, Runs
from automator67.engine.store.run_tables import runs

KEPT_RUNS = 50
"""How many runs of an app are remembered."""
_NAMES = tuple(f.name for f in fields(Run))


def load_runs(tx: Connection) -> Runs:
    """Return what is remembered of all runs."""
    found: dict[str, list[Run]] = {}
    for row in tx.execute(select(runs).order_by(runs.c.number.desc())):
        found.setdefault(row.app, []).append(_run(row))
    return Runs({app: tuple(mine) for app, mine in found.items()})


def runs_of(tx: Connection, app: str, limit: int) -> list[Run]:
    """Return the last runs of an app, the newest first."""
    found = select(runs).where(runs.c.app == app).order_by(runs.c.number.desc()).limit(limit)
    return [_run(row) for row in tx.execute(found)]


def find_run(tx: Connection, app: str, number: int) -> Run | None:
    """Return a run of an app, None where none is remembered."""
    row = tx.execute(select(runs).where(_one(app, number))).first()
    return _run(row) if row is not None else None


def save_run(tx: Connection, run: Run) -> None:
    """Record a run as it is now; when it is a new one, the oldest that are over are dropped."""
    values = asdict(run) | {"command": json.dumps(run.command)}
    if tx.execute(update(runs).where(_one(run.app, run.number)).values(values)).rowcount:
        return
    tx.execute(insert(runs).values(values))
    mine = runs.c.app == run.app
    tx.execute(delete(runs).where(mine, runs.c.number <= run.number - KEPT_RUNS, runs.c.state != "wanted"))


def ask_to_stop(tx: Connection, app: str, number: int, why: str) -> None:
    """Record that a run is to end."""
    tx.execute(update(runs).where(_one(app, number), runs.c.state == "wanted").values(stop=why))


def forget_runs(tx: Connection, app: str) -> None:
    """Drop the runs of an app that is gone."""
    tx.execute(delete(runs).where(runs.c.app == app))


def _run(row: Any) -> Run:
    values = {name: getattr(row, name) for name in _NAMES}
    return Run(**values | {"command": tuple(json.loads(row.command))})


def _one(app: str, number: int) -> Any:
    return and_(runs.c.app == app, runs.c.number == number)
