"""The outbox of commit statuses: what should be said against what was said, in the store.

A status is wanted in the same transaction as the facts it tells of, and marked as posted after the forge has taken
it: a crash in between posts it once more, which changes nothing at the forge, and loses nothing. Wants that come
before the last one was posted replace it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, update

from automator67.engine.backoff import delay
from automator67.engine.forges.reporter import PostFailed, Reporter
from automator67.engine.forges.statuses import Due, Posted, Status, fit, next_post
from automator67.engine.store.database import Store
from automator67.engine.store.tables import posts, unposted

NEVER = 9e15
"""``next_at`` of a row whose two sides agree: keeps it out of the index range that is looked through."""

PENDING_SECONDS = 1.0
"""How long a pending status waits before it is posted: what is over by then is told by its result alone."""

_MAX_ERROR = 500


def want(tx: Connection, commit: str, statuses: Sequence[Status], now: float) -> None:
    """Record what the forge should show for a commit; the last word on a context counts."""
    wanted = {status.context: status for status in map(fit, statuses)}
    rows = {row.context: row for row in tx.execute(select(posts).where(posts.c.commit_id == commit))}
    for context, status in wanted.items():
        row = rows.get(context)
        if row is None:
            values = {"state": status.state, "description": status.description, "wanted_at": now}
            values["next_at"] = now + _patience(status.state)
            tx.execute(insert(posts).values(commit_id=commit, context=context, **values))
            continue
        due = next_post(status, Posted(row.posted_state, row.posted_description, row._mapping["count"]))
        state, text = (due.state, due.description) if due else (row.posted_state, row.posted_description)
        if (state, text) == (row.state, row.description):
            continue
        # A forge that refuses now is not asked sooner because there is more to say.
        waits = row.next_at if row.attempts and row.next_at < NEVER else now + _patience(state)
        values = {"state": state, "description": text, "wanted_at": now, "next_at": waits if due else NEVER}
        tx.execute(update(posts).where(_is(commit, context)).values(**values))


def _patience(state: str) -> float:
    return PENDING_SECONDS if state == "pending" else 0.0


def due(tx: Connection, now: float, limit: int = 100) -> list[Due]:
    """Return what should be posted now, oldest wish first."""
    rows = tx.execute(
        select(posts.c.commit_id, posts.c.context, posts.c.state, posts.c.description)
        .where(posts.c.next_at <= now, unposted())
        .order_by(posts.c.wanted_at, posts.c.commit_id, posts.c.context)
        .limit(limit)
    )
    return [Due(row.commit_id, Status(row.context, row.state, row.description)) for row in rows]


def next_due(tx: Connection) -> float | None:
    """Return when (seconds since the epoch) something becomes due, None when nothing will."""
    found = tx.scalar(select(func.min(posts.c.next_at)).where(posts.c.next_at < NEVER, unposted()))
    return None if found is None else float(found)


def posted(tx: Connection, done: Due, now: float) -> None:
    """Record that the forge has taken a status."""
    status = done.status
    said = {"posted_state": status.state, "posted_description": status.description, "posted_at": now}
    where = _is(done.commit, status.context)
    values = {"count": posts.c.count + 1, "attempts": 0, "error": "", "next_at": now}
    tx.execute(update(posts).where(where).values(**said, **values))
    tx.execute(update(posts).where(where, ~unposted()).values(next_at=NEVER))


def failed(tx: Connection, tried: Due, failure: PostFailed, now: float, random: Random) -> None:
    """Record that the forge has not taken a status, and when to try again."""
    where = _is(tried.commit, tried.status.context)
    attempts = int(tx.scalar(select(posts.c.attempts).where(where)) or 0) + 1
    again = now + delay(attempts, failure.retry_after, failure.permanent, random)
    text = str(failure)[:_MAX_ERROR]
    tx.execute(update(posts).where(where, unposted()).values(attempts=attempts, error=text, next_at=again))


def retry_now(tx: Connection, now: float) -> None:
    """Let everything that waits after a failure be tried at once, as after a new token was given."""
    tx.execute(update(posts).where(posts.c.attempts > 0, posts.c.next_at < NEVER, unposted()).values(next_at=now))


def deliver(store: Store, reporter: Reporter, clock: Callable[[], float], random: Random) -> list[str]:
    """Post what is due now, recording each as soon as the forge has answered; return the distinct failures.

    Raises StoreUnavailable; what was posted but could not be recorded is then posted again later.
    """
    with store.read() as tx:
        batch = due(tx, clock())
    failures: dict[str, None] = {}
    for item, failure in reporter.post(batch) if batch else ():
        with store.begin() as tx:
            if failure is None:
                posted(tx, item, clock())
            else:
                failed(tx, item, failure, clock(), random)
                failures[str(failure)] = None
    return list(failures)


def _is(commit: str, context: str) -> ColumnElement[bool]:
    return and_(posts.c.commit_id == commit, posts.c.context == context)
