"""Makes changes of objects happen: all that wait together, as one blob of the log.

A batch is decided, written to the providers with the small objects it brings, carried out in the metadata, and only
then acknowledged. While one is under way the next one gathers. Over all processes one batch is under way at a time.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import struct
import time
from dataclasses import dataclass, replace

from automator67.engine.buckets import blobs, lookup
from automator67.engine.buckets.changes import apply
from automator67.engine.buckets.decide import Judge
from automator67.engine.buckets.errors import Corrupt
from automator67.engine.buckets.fleet import Fleet
from automator67.engine.buckets.keys import Keys
from automator67.engine.buckets.layout import Layout
from automator67.engine.buckets.ledger import Ledger, set_meta
from automator67.engine.buckets.records import Change, Chunk, Content, Put, changes_of, log_text
from automator67.engine.crash import point

MAGIC = b"a67log1\0"
_HEAD = struct.Struct(">8sQ")
HEAD_BYTES = _HEAD.size
_MOST_CHANGES = 1000
_MOST_BYTES = 8 * 2**20


@dataclass
class _Waiting:
    change: Change
    segment: bytes
    done: asyncio.Future[Change]


class Committer:
    """The one place where objects change. ``quota``: bytes of all versions (None: no limit)."""

    def __init__(
        self, ledger: Ledger, fleet: Fleet, keys: Keys, layout: Layout, session: str, quota: int | None
    ) -> None:
        self._ledger, self._fleet, self._keys, self._layout = ledger, fleet, keys, layout
        self._session, self._quota = session, quota
        self._queue: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, change: Change, segment: bytes = b"") -> Change:
        """Have a change happen; return it as it stands then.

        ``segment`` is the sealed data of a small object, to which a chunk with an empty blob name refers. Raises
        BucketError when it may not happen, or could not be made to last.
        """
        done: asyncio.Future[Change] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(change, segment, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await asyncio.shield(done)

    async def close(self) -> None:
        """Wait until what was submitted is over."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        while self._queue:
            batch: list[_Waiting] = []
            size = 0
            while self._queue and len(batch) < _MOST_CHANGES and size < _MOST_BYTES:
                batch.append(self._queue.pop(0))
                size += len(batch[-1].segment)
            try:
                async with self._ledger.writing():
                    accepted = self._decide(batch)
                    if accepted:
                        await self._happen(accepted)
            except Exception as error:  # whatever it is, whoever waits must hear of it
                for waiting in batch:
                    if not waiting.done.done():
                        waiting.done.set_exception(error)

    def _decide(self, batch: list[_Waiting]) -> list[_Waiting]:
        db = self._ledger.reader
        held = self._ledger.meta("bytes")
        room = None if self._quota is None else self._quota - int(held or 0)
        judge = Judge(
            lambda key: lookup.newest(db, key),
            lambda content: lookup.head_of_content(db, content) is not None,
            lambda names: blobs.usable(db, names),
            lambda upload: lookup.upload(db, upload) is not None,
            room,
        )
        accepted = []
        for waiting in batch:
            refusal = judge.refusal(waiting.change)
            if refusal is None:
                accepted.append(waiting)
            else:
                waiting.done.set_exception(refusal)
        return accepted

    async def _happen(self, accepted: list[_Waiting]) -> None:
        sequence = int(self._ledger.meta("sequence") or 0) + 1
        before = str(self._ledger.meta("batch") or "")
        name = self._layout.batch(sequence, os.urandom(8).hex())
        changes, data = _placed(accepted, sequence)
        sealed = self._keys.seal_named(name, before.encode() + b"\n" + log_text(changes))
        blob = b"".join((_HEAD.pack(MAGIC, len(sealed)), sealed, data))
        now = time.time()

        def intend(tx: sqlite3.Connection) -> None:
            blobs.intend(tx, [name], len(blob), self._session, now)
            # A number is never used again: what a batch that failed has left somewhere is then not in the way.
            set_meta(tx, "sequence", sequence)

        await self._ledger.write(intend)
        point("bucket-intent")
        providers = await self._fleet.write(name, blob)
        point("bucket-written")
        base = HEAD_BYTES + len(sealed)

        def carry_out(tx: sqlite3.Connection) -> None:
            blobs.written(tx, name, len(blob), providers)
            tx.execute("UPDATE blobs SET state = 'live' WHERE name = ?", (name,))
            apply(tx, changes, name, base)
            set_meta(tx, "batch", name)

        await self._ledger.write(carry_out)
        point("bucket-committed")
        for waiting, change in zip(accepted, changes, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(change)


def open_batch(keys: Keys, name: str, head: bytes) -> tuple[str, list[Change], int]:
    """Return the batch before, the changes, and where the data begin, of the beginning of a blob of the log.

    Raises Corrupt; ``NeedMore`` (a Corrupt) when ``head`` is too short.
    """
    if len(head) < HEAD_BYTES or head[:8] != MAGIC:
        raise Corrupt(f"{name} is not a batch of the log")
    length = _HEAD.unpack_from(head)[1]
    if len(head) < HEAD_BYTES + length:
        raise NeedMore(HEAD_BYTES + length)
    before, _, text = keys.open_named(name, head[HEAD_BYTES : HEAD_BYTES + length]).partition(b"\n")
    return before.decode(), changes_of(text), HEAD_BYTES + length


class NeedMore(Corrupt):
    """The batch is longer than what was read of it."""

    def __init__(self, length: int) -> None:
        super().__init__(f"{length} bytes are needed")
        self.length = length


def _placed(accepted: list[_Waiting], sequence: int) -> tuple[list[Change], bytes]:
    """Return the changes with their place in the order and in the batch's data, and these data."""
    changes: list[Change] = []
    segments: list[bytes] = []
    offset = 0
    for n, waiting in enumerate(accepted):
        change = waiting.change
        if isinstance(change, Put):
            new = change.new
            if waiting.segment:
                new = (_inside(new[0], offset, len(waiting.segment)), *new[1:])
                segments.append(waiting.segment)
                offset += len(waiting.segment)
            change = replace(change, version=replace(change.version, order=order_of(sequence, n)), new=new)
        changes.append(change)
    return changes, b"".join(segments)


def order_of(sequence: int, n: int) -> int:
    """Return the order of the version that the change ``n`` of a batch makes."""
    return sequence << 20 | n


def _inside(content: Content, offset: int, length: int) -> Content:
    return replace(content, chunks=(Chunk("", offset, length),))
