"""What is observed, as read from the store by a process that is not the engine (for ``plan`` on the command line)."""

from __future__ import annotations

from automator67.engine.desired import Desired
from automator67.engine.nodes.registry import views_from_store
from automator67.engine.observed import Observed
from automator67.engine.store.database import Store
from automator67.engine.store.intents import load_intents


def observed_from_store(store: Store, desired: Desired, now: float) -> Observed:
    """Return the present as the engine last wrote it down."""
    with store.read() as tx:
        i = load_intents(tx)
        views = views_from_store(tx, desired.nodes, now)
    return Observed(views, i.assignments, i.holds, i.deployed, i.last_good, True, i.confirmed)
