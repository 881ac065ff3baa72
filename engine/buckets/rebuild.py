"""Makes the metadata of a bucket anew, from the log that its providers hold and the bucket's key.

Every batch names the one before it: the chain is followed from the newest batch back to the first one. A batch that was
begun and never finished is in nobody's past, and is left out.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from automator67.engine.buckets.blobs import NEEDED
from automator67.engine.buckets.changes import apply
from automator67.engine.buckets.commit import NeedMore, open_batch, order_of
from automator67.engine.buckets.errors import Corrupt, Refused, Unavailable
from automator67.engine.buckets.fleet import Fleet
from automator67.engine.buckets.keys import Keys, read_ring
from automator67.engine.buckets.layout import Layout
from automator67.engine.buckets.ledger import Ledger, set_meta
from automator67.engine.buckets.opening import Secret, members_of, read_marker
from automator67.engine.buckets.providers.protocol import ProviderError
from automator67.engine.buckets.records import Change, Put
from automator67.engine.buckets.rules import Rules

_HEAD = 256 * 1024
_AHEAD = 16


@dataclass
class Rebuilt:
    """What was found. ``missing``: blobs that objects need and no provider has (or none that answers)."""

    batches: int = 0
    objects: int = 0
    blobs: int = 0
    missing: int = 0
    lost: list[str] = field(default_factory=list)
    """Batches that could not be read, where that was allowed."""


@dataclass(frozen=True, slots=True)
class _Found:
    providers: tuple[str, ...]
    size: int


async def rebuild(
    rules: Rules, nodes: Mapping[str, Mapping[str, Any]], secret: Secret, state: Path, *, accept_loss: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> Rebuilt:  # fmt: skip
    """Write the metadata of a bucket into the state directory, where there must be none.

    ``accept_loss``: go on though providers are away or batches cannot be read. Raises BucketError; then nothing is
    there that was not before.
    """
    folder = state / "buckets" / rules.name
    if _has_metadata(folder):
        raise Refused(f"there are metadata of bucket {rules.name} already; move {folder} away to make them anew")
    layout, fleet = Layout(rules.name), Fleet(members_of(rules, nodes, secret), rules.replicas, dict)
    id_ = await read_marker(fleet, layout)
    if id_ is None:
        raise Unavailable(f"no provider holds a bucket {rules.name}")
    keys = Keys(id_, read_ring(secret(rules.key), rules.name))
    found = await _listed(fleet, layout, rules.replicas, accept_loss, told)
    told(f"{len(found)} blobs at {len(fleet.members)} providers")
    draft = folder.with_name(f".{rules.name}.rebuilding")
    shutil.rmtree(draft, ignore_errors=True)
    ledger = Ledger(draft)
    try:
        result = await _written(ledger, fleet, keys, layout, found, accept_loss, told)
        await ledger.write(lambda tx: set_meta(tx, "id", id_.hex()))
    finally:
        ledger.close()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (draft / "meta.db").replace(folder / "meta.db")
    shutil.rmtree(draft, ignore_errors=True)
    return result


def _has_metadata(folder: Path) -> bool:
    """Whether there are metadata of a bucket; who looked for some in vain has left an empty file."""
    if not (folder / "meta.db").exists():
        return False
    ledger = Ledger(folder)
    try:
        return bool(ledger.meta("id") or ledger.meta("claim"))
    finally:
        ledger.close()


async def _listed(
    fleet: Fleet, layout: Layout, replicas: int, accept_loss: bool, told: Callable[[str], None]
) -> dict[str, _Found]:  # fmt: skip
    """Return every blob of the bucket by its name, and which providers say that they have it."""
    found: dict[str, _Found] = {}
    away: list[str] = []
    for name, member in fleet.members.items():
        try:
            async for stored in member.provider.list(f"{layout.bucket}/"):
                known = found.get(stored.name, _Found((), stored.size))
                found[stored.name] = _Found((*known.providers, name), max(known.size, stored.size))
        except ProviderError as error:
            away.append(str(error))
            told(f"! {error}")
    if len(away) >= replicas and not accept_loss:
        raise Unavailable(f"with so many providers away, objects could be missing: {'; '.join(away)}")
    found.pop(layout.marker, None)
    return found


async def _written(
    ledger: Ledger, fleet: Fleet, keys: Keys, layout: Layout, found: Mapping[str, _Found], accept_loss: bool,
    told: Callable[[str], None],
) -> Rebuilt:  # fmt: skip
    result = Rebuilt()
    batches = {name: blob for name, blob in found.items() if name.startswith(layout.log)}
    opened = await _opened(fleet, keys, batches, told)
    chain, result.lost = _chain({name: batch[0] for name, batch in opened.items()}, sorted(batches))
    if result.lost and not accept_loss:
        raise Corrupt(f"the log cannot be read whole: {', '.join(result.lost[:3])}; with --accept-loss what is in the "
                      "rest is brought back")  # fmt: skip
    for at in range(0, len(chain), 100):
        part = chain[at : at + 100]
        await ledger.write(lambda tx, part=part: _carried_out(tx, layout, part, opened, found))  # type: ignore[misc]
        told(f"{at + len(part)} of {len(chain)} batches")
    result.batches = len(chain)
    result.missing = await ledger.write(lambda tx: _placed(tx, found))
    db = ledger.reader
    result.objects = db.execute("SELECT count(*) FROM versions WHERE latest AND NOT marker").fetchone()[0]
    result.blobs = db.execute(f"SELECT count(*) FROM blobs WHERE {NEEDED}").fetchone()[0]  # noqa: S608
    last = max((sequence_of(layout, name) for name in batches), default=0)

    def end(tx: sqlite3.Connection) -> None:
        set_meta(tx, "sequence", last)
        set_meta(tx, "batch", chain[-1] if chain else "")

    await ledger.write(end)
    return result


_Batch = tuple[str, list[Change], int]


async def _opened(
    fleet: Fleet, keys: Keys, batches: Mapping[str, _Found], told: Callable[[str], None]
) -> dict[str, _Batch]:  # fmt: skip
    gate = asyncio.Semaphore(_AHEAD)
    opened: dict[str, _Batch] = {}

    async def one(name: str, blob: _Found) -> None:
        async with gate:
            for provider in blob.providers:
                try:
                    opened[name] = await _open(fleet, keys, provider, name)
                    return
                except (Corrupt, ProviderError) as error:
                    told(f"! {provider}: {error}")

    await asyncio.gather(*(one(name, blob) for name, blob in batches.items()))
    return opened


async def _open(fleet: Fleet, keys: Keys, provider: str, name: str) -> _Batch:
    from_provider = fleet.members[provider].provider
    head = await from_provider.get(name, 0, _HEAD)
    try:
        return open_batch(keys, name, head)
    except NeedMore as more:
        return open_batch(keys, name, await from_provider.get(name, 0, more.length))


def sequence_of(layout: Layout, name: str) -> int:
    """Return the number of a batch by its name."""
    return int(name.removeprefix(layout.log).partition("-")[0])


def _chain(before: Mapping[str, str], names: list[str]) -> tuple[list[str], list[str]]:
    """Return the batches that follow each other, the first one first, and what is missing of them. Pure.

    ``before``: by the name of each batch that can be read the one before it, "" for the first; ``names``: all, sorted.
    """
    chain: list[str] = []
    lost: list[str] = []
    # What cannot be read at the end may be one that was never finished, or one that is lost.
    readable = [n for n in names if n in before]
    if readable and names[-1] != readable[-1]:
        lost += [n for n in names if n > readable[-1]]
    name = readable[-1] if readable else ""
    lost += names if names and not readable else []
    while name:
        if name in before:
            chain.append(name)
            name = before[name]
            continue
        lost.append(name)
        earlier = [n for n in readable if n < name]
        name = earlier[-1] if earlier else ""
    return chain[::-1], lost


def _carried_out(
    tx: sqlite3.Connection, layout: Layout, part: list[str], opened: Mapping[str, _Batch], found: Mapping[str, _Found]
) -> None:  # fmt: skip
    for name in part:
        _, changes, base = opened[name]
        sequence = sequence_of(layout, name)
        ordered = [
            replace(c, version=replace(c.version, order=order_of(sequence, n))) if isinstance(c, Put) else c
            for n, c in enumerate(changes)
        ]
        tx.execute(
            "INSERT INTO blobs (name, size, state, at, session) VALUES (?, ?, 'live', 0, '')"
            " ON CONFLICT (name) DO UPDATE SET size = excluded.size",
            (name, found[name].size),
        )
        apply(tx, ordered, name, base)


def _placed(tx: sqlite3.Connection, found: Mapping[str, _Found]) -> int:
    """Note where blobs are; those that nothing needs are left to the collector. Return how many are nowhere."""
    known = dict(tx.execute("SELECT name, id FROM blobs").fetchall())
    now = time.time()
    for name, blob in found.items():
        id_ = known.get(name)
        if id_ is None:
            id_ = tx.execute("INSERT INTO blobs (name, size, state, at, session) VALUES (?, ?, 'intent', ?, '')",
                             (name, blob.size, now)).lastrowid  # fmt: skip
        tx.executemany(
            "INSERT OR IGNORE INTO copies (blob, provider) VALUES (?, ?)", [(id_, p) for p in blob.providers]
        )
    # What the log tells of and nothing needs any more has been removed, or is to be.
    tx.execute(f"UPDATE blobs SET state = 'condemned', at = ? WHERE state = 'live' AND NOT ({NEEDED})", (now,))  # noqa: S608
    return sum(name not in found for (name,) in tx.execute(f"SELECT name FROM blobs WHERE {NEEDED}"))  # noqa: S608
