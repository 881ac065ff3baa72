"""What is observed, as read from the store by a process that is not the engine (for ``plan`` on the command line)."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from automator67.engine.desired import Desired, Node
from automator67.engine.images.pins import as_written, pinned
from automator67.engine.nodes.reading import read_report, view_of
from automator67.engine.observed import NodeView, Observed
from automator67.engine.store.database import Store
from automator67.engine.store.intents import load_intents
from automator67.engine.store.nodes import node_records
from automator67.engine.store.origins import load_pins


def observed_from_store(store: Store, desired: Desired, now: float) -> Observed:
    """Return the present as the engine last wrote it down."""
    with store.read() as tx:
        i = load_intents(tx)
        views = _views(tx, desired.nodes, now)
    return Observed(views, i.assignments, i.holds, i.deployed, i.last_good, confirmed=i.confirmed, builds=i.builds,
                    canaries=i.canaries, volumes=i.volumes)  # fmt: skip


def settled_from_store(store: Store, desired: Desired) -> Desired:
    """Return a desired state with what its names meant when the engine last looked them up; nothing is asked now."""
    with store.read() as tx:
        return as_written(pinned(desired, load_pins(tx))[0], desired)


def _views(tx: Connection, nodes: Mapping[str, Node], now: float) -> dict[str, NodeView]:
    records = {r.name: r for r in node_records(tx)}
    views = {n: NodeView(n, "never", "no agent has joined as this node yet") for n in nodes if n not in records}
    for name, r in records.items():
        report = read_report(name, r.report, now) if r.report else None
        views[name] = view_of(
            name, report, r.report.get("usage", {}), r.state, r.state_reason, r.last_seen, fresh=True  # type: ignore[arg-type]
        )  # fmt: skip
    return views
