"""Single facts, the judgement of each app, and the log of events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields

from sqlalchemy import Connection, delete, insert, select, update

from automator67.engine.judge import AppState
from automator67.engine.store.tables import app_states, events, meta

MAX_EVENTS = 5000
AUDITED = "exec"
"""The kind of event that stays for ever: who ran which command where."""


def set_fact(tx: Connection, key: str, value: str) -> None:
    """Record a single fact."""
    if tx.execute(update(meta).where(meta.c.key == key).values(value=value)).rowcount == 0:
        tx.execute(insert(meta).values(key=key, value=value))


def fact(tx: Connection, key: str, default: str = "") -> str:
    """Return a single fact."""
    return tx.scalar(select(meta.c.value).where(meta.c.key == key)) or default


def app_state_rows(tx: Connection) -> dict[str, AppState]:
    """Return the last judgement of every app, by name."""
    states = {}
    for row in tx.execute(select(app_states).order_by(app_states.c.app)):
        values = {f.name: row._mapping[f.name] for f in fields(AppState)}
        values["instances"] = tuple(json.loads(row.instances))
        states[row.app] = AppState(**values)
    return states


def set_app_states(tx: Connection, before: Mapping[str, AppState], after: Mapping[str, AppState], now: float) -> None:
    """Write the judgements that differ from ``before``, and drop those of apps that are gone."""
    for name, state in after.items():
        if before.get(name) == state:
            continue
        values = {f.name: getattr(state, f.name) for f in fields(AppState)}
        values |= {"instances": json.dumps(state.instances), "updated_at": now}
        if tx.execute(update(app_states).where(app_states.c.app == name).values(**values)).rowcount == 0:
            tx.execute(insert(app_states).values(**values))
    for name in before.keys() - after.keys():
        tx.execute(delete(app_states).where(app_states.c.app == name))


def add_events(tx: Connection, rows: Iterable[tuple[float, str, str, str, str]]) -> None:
    """Append to the log: (at, kind, resource, message, commit). The log keeps the newest ``MAX_EVENTS``,
    and all that are ``AUDITED``."""
    values = [dict(zip(("at", "kind", "resource", "message", "commit_id"), row, strict=True)) for row in rows]
    if not values:
        return
    tx.execute(insert(events), values)
    newest = tx.scalar(select(events.c.seq).order_by(events.c.seq.desc()).limit(1)) or 0
    tx.execute(delete(events).where(events.c.seq <= newest - MAX_EVENTS, events.c.kind != AUDITED))


def audited(tx: Connection, limit: int) -> list[tuple[float, str, str]]:
    """Return the newest commands that people ran in instances: (at, resource, message), newest first."""
    found = select(events.c.at, events.c.resource, events.c.message).where(events.c.kind == AUDITED)
    return [(r.at, r.resource, r.message) for r in tx.execute(found.order_by(events.c.seq.desc()).limit(limit))]
