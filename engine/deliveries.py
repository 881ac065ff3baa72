"""Takes webhook deliveries out of the inbox: recorded in the store first, then removed, then looked at."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from automator67.engine.inbox import Inbox
from automator67.engine.store.database import Store
from automator67.engine.store.tables import deliveries

KEEP_SECONDS = 14 * 86400.0


def take_deliveries(inbox: Inbox, store: Store, now: float) -> int:
    """Record every waiting delivery and remove it from the inbox; return how many were new.

    A crash in between leaves a file whose delivery is recorded already: it is removed at the next call.
    """
    waiting = inbox.take()
    if not waiting:
        return 0
    new = 0
    with store.begin() as tx:
        for d in waiting:
            if tx.scalar(select(deliveries.c.id).where(deliveries.c.id == d.key)) is None:
                tx.execute(
                    insert(deliveries).values(
                        id=d.key, forge=d.forge[:16], event=d.event[:64], received_at=d.received_at, outcome="looked"
                    )
                )
                new += 1
        tx.execute(delete(deliveries).where(deliveries.c.received_at < now - KEEP_SECONDS))
    for d in waiting:
        inbox.done(d)
    return new
