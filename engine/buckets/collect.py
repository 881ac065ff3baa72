"""Removes what nobody needs any more, in two steps with a day between them.

First what is over its time is purged, and blobs that nothing refers to are condemned; no change may refer to one from
then on (``blobs.usable``). A day later they are removed, when whoever was reading has long finished.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from dataclasses import dataclass, field

from automator67.engine.buckets.blobs import NEEDED
from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.errors import NotFound, Refused
from automator67.engine.buckets.files import all_below
from automator67.engine.buckets.providers.protocol import ProviderError
from automator67.engine.buckets.records import Drop, Expect
from automator67.engine.crash import point

GRACE_SECONDS = 86400.0
ABANDONED_SECONDS = 7 * 86400.0
"""An upload in parts to which nothing came for so long is given up."""
_AT_ONCE = 500


@dataclass
class Collected:
    """What was done: objects that expired, versions and uploads given up, blobs condemned and removed, bytes freed."""

    expired: int = 0
    purged: int = 0
    aborted: int = 0
    condemned: int = 0
    removed: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)


async def collect(bucket: Bucket, now: float | None = None, grace: float = GRACE_SECONDS) -> Collected:
    """Do both steps, each for what is ready for it."""
    now, done = time.time() if now is None else now, Collected()
    await _expire(bucket, now, done)
    await _purge(bucket, now, done)
    for upload in bucket.uploads.list(limit=10_000):
        last = max([upload.at, *(p.at for p in bucket.uploads.parts(upload.id, 0, 10_000))])
        if last < now - ABANDONED_SECONDS:
            await bucket.uploads.abort(upload.id)
            done.aborted += 1
    async with bucket.ledger.writing():
        done.condemned = await bucket.ledger.write(lambda tx: _condemn(tx, now, now - grace))
    point("bucket-condemned")
    await _remove(bucket, now - grace, done)
    return done


async def _expire(bucket: Bucket, now: float, done: Collected) -> None:
    for rule in bucket.rules.expire:
        async for version in all_below(bucket, rule.prefix):
            if version.created < now - rule.after:
                try:
                    await bucket.delete(version.key, expect=Expect(etag=version.etag))
                    done.expired += 1
                except (Refused, NotFound):
                    continue  # It was changed just now, and is young again.


async def _purge(bucket: Bucket, now: float, done: Collected) -> None:
    """Forget versions that were deleted, or replaced where versions are not kept, for longer than ``keep_deleted``."""
    over = now - bucket.rules.keep_deleted
    which = "deleted_at < ?1" if bucket.rules.versions else "(deleted_at < ?1 OR (replaced_at < ?1 AND NOT marker))"
    lonely = (
        "marker AND created < ?1 AND NOT EXISTS (SELECT 1 FROM versions o WHERE o.key = v.key AND o.ord <> v.ord"
        " AND NOT o.marker)"
    )
    while True:
        rows = bucket.ledger.reader.execute(
            f"SELECT key, id FROM versions v WHERE {which} OR ({lonely}) LIMIT ?2",  # noqa: S608
            (over, _AT_ONCE),
        ).fetchall()
        told = await asyncio.gather(
            *(bucket.committer.submit(Drop(key, id_.hex(), "purge", now)) for key, id_ in rows), return_exceptions=True
        )
        for error in told:
            if isinstance(error, BaseException) and not isinstance(error, Refused):
                raise error
        purged = sum(not isinstance(t, BaseException) for t in told)
        done.purged += purged
        # A deletion goes only when what it hides is gone, so the last look finds nothing; or what is being changed.
        if not purged:
            return


def _condemn(tx: sqlite3.Connection, now: float, before: float) -> int:
    unused = tx.execute(
        f"UPDATE blobs SET state = 'condemned', at = ? WHERE state = 'live' AND live = 0 AND NOT ({NEEDED})",  # noqa: S608
        (now,),
    ).rowcount
    left = tx.execute(
        "UPDATE blobs SET state = 'condemned', at = ? WHERE live = 0 AND state = 'intent' AND at < ?", (now, before)
    ).rowcount
    return unused + left


async def _remove(bucket: Bucket, before: float, done: Collected) -> None:
    after = 0
    while True:
        rows = bucket.ledger.reader.execute(
            "SELECT id, name, size FROM blobs WHERE state = 'condemned' AND live = 0 AND at <= ? AND id > ?"
            " ORDER BY id LIMIT 100",
            (before, after),
        ).fetchall()
        if not rows:
            return
        after = rows[-1][0]
        gone = await asyncio.gather(*(_removed(bucket, name, done) for _, name, _ in rows))
        point("bucket-removed")
        over = [(row[0],) for row, was in zip(rows, gone, strict=True) if was]
        await bucket.ledger.write(lambda tx, over=over: _forget(tx, over))  # type: ignore[misc]
        done.removed += len(over)
        done.bytes += sum(size for (_, _, size), was in zip(rows, gone, strict=True) if was)


async def _removed(bucket: Bucket, name: str, done: Collected) -> bool:
    """Remove a blob wherever it may be: who wrote it may have died before noting where. Return whether it is gone."""
    whole = True
    for member in bucket.fleet.members.values():
        try:
            await member.provider.delete(name)
        except ProviderError as error:
            done.problems = [*done.problems, str(error)][-10:]
            whole = False
    return whole


def _forget(tx: sqlite3.Connection, ids: list[tuple[int]]) -> None:
    tx.executemany("DELETE FROM copies WHERE blob = ?", ids)
    tx.executemany("DELETE FROM blobs WHERE id = ?", ids)
