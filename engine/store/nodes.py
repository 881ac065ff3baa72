"""What the store remembers of enrolled nodes: certificates, last reports, judgements."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select, update

from automator67.engine.store.tables import nodes


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One enrolled node. Times are seconds since the epoch; ``report`` is its last heartbeat message."""

    name: str
    cert_serial: str = ""
    cert_expires: float = 0.0
    enrolled_at: float = 0.0
    revoked_at: float | None = None
    last_seen: float = 0.0
    connected: bool = False
    state: str = "never"
    state_reason: str = ""
    state_since: float = 0.0
    report: Mapping[str, Any] = field(default_factory=dict)


def node_records(tx: Connection) -> list[NodeRecord]:
    """Return every enrolled node, by name."""
    rows = tx.execute(select(nodes).order_by(nodes.c.name))
    return [NodeRecord(**(dict(r._mapping) | {"report": json.loads(r.report)})) for r in rows]


def node_names(tx: Connection) -> list[str]:
    """Return the names of all enrolled nodes."""
    return list(tx.scalars(select(nodes.c.name).order_by(nodes.c.name)))


def put_nodes(tx: Connection, records: Iterable[NodeRecord]) -> None:
    """Write nodes, replacing what was there."""
    for record in records:
        values = {name: getattr(record, name) for name in NodeRecord.__slots__}
        values["report"] = json.dumps(record.report, separators=(",", ":"))
        if tx.execute(update(nodes).where(nodes.c.name == record.name).values(**values)).rowcount == 0:
            tx.execute(insert(nodes).values(**values))
