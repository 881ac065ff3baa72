"""Keeps every blob on as many providers as it should be on: looks at copies, writes those that are missing, moves.

Killed at any instant, it goes on the next time: a copy counts when it was written, and one is forgotten before it is
removed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from math import ceil

from automator67.engine.buckets import blobs
from automator67.engine.buckets.blobs import NEEDED
from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.errors import Corrupt
from automator67.engine.buckets.layout import ranked, todo
from automator67.engine.buckets.providers.protocol import ProviderError
from automator67.engine.buckets.soundness import checker
from automator67.engine.crash import point

_PAGE = 200
_AT_ONCE = 4


@dataclass
class Report:
    """What was seen and done. ``lost``: the names of blobs of which no good copy was found though all answered."""

    blobs: int = 0
    copies: int = 0
    bad: int = 0
    away: int = 0
    written: int = 0
    removed: int = 0
    bytes: int = 0
    lost: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Blob:
    id: int
    name: str
    size: int
    copies: dict[str, bool]
    """By provider whether the copy is known to be bad."""


async def verify(bucket: Bucket, share: float = 1.0, told: Callable[[Report], None] = lambda _: None) -> Report:
    """Read copies back and note which are bad: of all blobs, or of the ``share`` that was not looked at for longest."""
    report = Report()
    async for page in _pages(bucket, _oldest(bucket, share)):
        await asyncio.gather(*(_look(bucket, blob, report) for blob in page))
        told(report)
    return report


async def repair(
    bucket: Bucket, *, rebalance: bool = False, dry_run: bool = False, told: Callable[[Report], None] = lambda _: None
) -> Report:
    """Bring every blob to as many good copies as the bucket has replicas, by what is known of the copies.

    ``rebalance``: also move copies to where they would be written today.
    """
    report = Report()
    async for page in _pages(bucket, None):
        await asyncio.gather(*(_mend(bucket, blob, rebalance, dry_run, report) for blob in page))
        told(report)
    return report


def backlog(bucket: Bucket) -> tuple[int, int]:
    """Return how many blobs have too few good copies, and how many of these have none that is known."""
    members = [n for n, m in bucket.fleet.members.items() if not m.leaving]
    marks = ",".join("?" * len(members))
    counted = bucket.ledger.reader.execute(
        f"SELECT n, count(*) FROM (SELECT (SELECT count(*) FROM copies c WHERE c.blob = b.id AND NOT c.bad"  # noqa: S608
        f" AND c.provider IN ({marks})) n FROM blobs b WHERE {NEEDED}) WHERE n < ? GROUP BY n",
        (*members, bucket.fleet.replicas),
    ).fetchall()
    return sum(c for _, c in counted), sum(c for n, c in counted if n == 0)


def _oldest(bucket: Bucket, share: float) -> set[int] | None:
    if share >= 1:
        return None
    db = bucket.ledger.reader
    count = db.execute(f"SELECT count(*) FROM blobs WHERE {NEEDED}").fetchone()[0]  # noqa: S608
    rows = db.execute(
        f"SELECT blob FROM copies JOIN blobs ON id = blob WHERE {NEEDED} GROUP BY blob ORDER BY min(checked)"  # noqa: S608
        " LIMIT ?",
        (ceil(count * share),),
    )
    return {row[0] for row in rows}


async def _pages(bucket: Bucket, only: set[int] | None) -> AsyncIterator[list[_Blob]]:
    """Yield blobs that are needed, a few at a time."""
    after = 0
    while True:
        rows = bucket.ledger.reader.execute(
            f"SELECT id, name, size FROM blobs WHERE {NEEDED} AND id > ? ORDER BY id LIMIT ?",  # noqa: S608
            (after, _PAGE),
        ).fetchall()
        if not rows:
            return
        after = rows[-1][0]
        wanted = [row for row in rows if only is None or row[0] in only]
        for at in range(0, len(wanted), _AT_ONCE):
            yield [
                _Blob(row[0], row[1], row[2], _copies(bucket.ledger.reader, row[0]))
                for row in wanted[at : at + _AT_ONCE]
            ]


def _copies(db: sqlite3.Connection, blob: int) -> dict[str, bool]:
    return {p: bool(bad) for p, bad in db.execute("SELECT provider, bad FROM copies WHERE blob = ?", (blob,))}


async def _look(bucket: Bucket, blob: _Blob, report: Report) -> None:
    """Read every copy of a blob and note how each is."""
    found: dict[str, bool] = {}
    for provider in [p for p in blob.copies if p in bucket.fleet.members]:
        try:
            await _read(bucket, blob, provider)
            found[provider] = False
        except Corrupt:
            found[provider] = True
        except ProviderError as error:
            if error.kind != "missing":
                report.away += 1
                report.problems = [*report.problems, str(error)][-10:]
                continue
            found[provider] = True
    report.blobs += 1
    report.copies += len(blob.copies)
    report.bad += sum(found.values())
    if all(found.values()) and len(found) == len(blob.copies):
        report.lost.append(blob.name)
    now = time.time()
    rows = [(bad, now, blob.id, provider) for provider, bad in found.items()]
    await bucket.ledger.write(
        lambda tx: tx.executemany("UPDATE copies SET bad = ?, checked = ? WHERE blob = ? AND provider = ?", rows)
    )


async def _read(bucket: Bucket, blob: _Blob, provider: str) -> bytes:
    """Return a blob from one provider. Raises Corrupt and ProviderError."""
    check = checker(bucket.ledger.reader, bucket.keys, bucket.layout, blob.name, blob.size)

    async def checked(data: bytes) -> bytes:
        await asyncio.to_thread(check, data)
        return data

    return await bucket.fleet.get_at(provider, blob.name, 0, blob.size, checked, lambda _: None)


async def _mend(bucket: Bucket, blob: _Blob, rebalance: bool, dry_run: bool, report: Report) -> None:
    fleet = bucket.fleet
    report.blobs += 1
    report.copies += len(blob.copies)
    good = {p for p, bad in blob.copies.items() if not bad and p in fleet.members}
    bad = {p for p in blob.copies if p not in good}
    rooms = fleet.rooms()
    order = [p for p in ranked(blob.name, blob.size, rooms) if p not in good]
    staying = [p for p in ranked(blob.name, 0, rooms) if p in good]
    full = ranked(blob.name, 0, rooms)
    do = todo(good, bad, sorted([*staying, *order], key=full.index), fleet.replicas, rebalance=rebalance)
    report.bad += len(bad)
    if len(staying) + len(do.write) < fleet.replicas and not rebalance:
        report.problems = [*report.problems, f"{blob.name}: too few providers can take a copy"][-10:]
    if not do.write and not do.remove:
        return
    if dry_run:
        report.written += len(do.write)
        report.removed += len(do.remove)
        report.bytes += blob.size * len(do.write)
        return
    written = await _write(bucket, blob, good, do.write, report) if do.write else set()
    # Nothing goes because of what is only believed: every copy that stays is read, the new ones too.
    if written is not None and do.remove:
        stay = [p for p in sorted({*good, *written} - set(do.remove)) if await _is_good(bucket, blob, p, report)]
        if len(stay) >= fleet.replicas:
            await _remove(bucket, blob, do.remove, report)


async def _write(
    bucket: Bucket, blob: _Blob, good: set[str], providers: tuple[str, ...], report: Report
) -> set[str] | None:  # fmt: skip
    """Write a blob to more providers; return to which; None when it can be read nowhere."""
    data = None
    for source in sorted(good, key=lambda p: bucket.fleet.members[p].usual):
        data = await _good(bucket, blob, source, report)
        if data is not None:
            break
    if data is None:
        if not good:
            report.lost.append(blob.name)
        return None
    done: set[str] = set()
    for provider in providers:
        if problem := await bucket.fleet.put_at(provider, blob.name, data):
            report.problems = [*report.problems, problem][-10:]
            continue
        point("bucket-copied")
        await bucket.ledger.write(lambda tx, p=provider: _note(tx, blob.id, p))  # type: ignore[misc]
        done.add(provider)
        report.written += 1
        report.bytes += blob.size
    return done


async def _good(bucket: Bucket, blob: _Blob, provider: str, report: Report) -> bytes | None:
    """Return a blob from one provider; None, and a note of it, when its copy is not good or not to be had."""
    try:
        return await _read(bucket, blob, provider)
    except (Corrupt, ProviderError) as error:
        report.problems = [*report.problems, str(error)][-10:]
        if isinstance(error, Corrupt) or error.kind == "missing":
            await bucket.ledger.write(lambda tx: blobs.mark_bad(tx, blob.name, provider))
        return None


async def _is_good(bucket: Bucket, blob: _Blob, provider: str, report: Report) -> bool:
    return await _good(bucket, blob, provider, report) is not None


def _note(tx: sqlite3.Connection, blob: int, provider: str) -> None:
    if tx.execute("SELECT 1 FROM blobs WHERE id = ?", (blob,)).fetchone():
        tx.execute(
            "INSERT INTO copies (blob, provider) VALUES (?, ?) ON CONFLICT (blob, provider) DO UPDATE SET bad = 0",
            (blob, provider),
        )


async def _remove(bucket: Bucket, blob: _Blob, providers: tuple[str, ...], report: Report) -> None:
    rows = [(blob.id, provider) for provider in providers]
    await bucket.ledger.write(lambda tx: tx.executemany("DELETE FROM copies WHERE blob = ? AND provider = ?", rows))
    point("bucket-copy-forgotten")
    for provider in providers:
        member = bucket.fleet.members.get(provider)
        try:
            if member is not None:
                await member.provider.delete(blob.name)
                report.removed += 1
        except ProviderError as error:
            report.problems = [*report.problems, str(error)][-10:]
