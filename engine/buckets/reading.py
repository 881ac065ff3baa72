"""Reads versions back: chunk by chunk from whichever provider has a good copy, opened, a few ahead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from functools import partial

from automator67.engine.buckets import blobs, lookup
from automator67.engine.buckets.errors import NotFound
from automator67.engine.buckets.fleet import Fleet
from automator67.engine.buckets.keys import Keys
from automator67.engine.buckets.layout import pieces
from automator67.engine.buckets.ledger import Ledger
from automator67.engine.buckets.records import Version

_AHEAD = 3
_QUICK = 64 * 1024
"""Up to this size opening is quicker than handing it to a thread."""


class Reader:
    """Reads contents of one bucket."""

    def __init__(self, ledger: Ledger, fleet: Fleet, keys: Keys) -> None:
        self._ledger, self._fleet, self._keys = ledger, fleet, keys
        self._repairs: set[asyncio.Task[None]] = set()

    async def read(self, version: Version, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes ``start`` to ``end`` (not included) of a version."""
        jobs = self._pieces(version, start, end)
        ahead: deque[asyncio.Task[bytes]] = deque()
        first = next(jobs, None)
        if first is None:
            return
        second = next(jobs, None)
        if second is None:
            yield await self._piece(*first)
            return
        try:
            ahead += [asyncio.create_task(self._piece(*first)), asyncio.create_task(self._piece(*second))]
            for job in jobs:
                if len(ahead) >= _AHEAD:
                    yield await ahead.popleft()
                ahead.append(asyncio.create_task(self._piece(*job)))
            while ahead:
                yield await ahead.popleft()
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def chunk(self, content: str, key: bytes, index: int, last: bool) -> bytes:
        """Return a whole chunk of a content. Raises Corrupt, Unavailable or NotFound."""
        found = lookup.copies_of(self._ledger.reader, content, index)
        if found is None:
            raise NotFound("the object has been removed meanwhile")
        place = found.chunk
        bad = partial(self._note_bad, place.blob)
        opening = partial(self._keys.open_chunk, content, key, index, last)

        async def check(sealed: bytes) -> bytes:
            return opening(sealed) if len(sealed) <= _QUICK else await asyncio.to_thread(opening, sealed)

        return await self._fleet.read(place.blob, place.offset, place.length, found.providers, check, bad)

    async def close(self) -> None:
        """Wait for what is being noted."""
        await asyncio.gather(*self._repairs, return_exceptions=True)

    def _pieces(self, version: Version, start: int, end: int) -> Iterator[tuple[str, bytes, int, bool, int, int]]:
        base = 0
        for content in version.contents:
            head = lookup.head_of_content(self._ledger.reader, content)
            if head is None:
                raise NotFound("the object has been removed meanwhile")
            size, cut, wrapped = head
            low, high = max(0, start - base), min(size, end - base)
            if low < high:
                key = self._keys.unwrap(content, wrapped)
                for index, begin, stop in pieces(low, high, cut):
                    yield content, key, index, (index + 1) * cut >= size, begin, stop
            base += size

    async def _piece(self, content: str, key: bytes, index: int, last: bool, begin: int, stop: int) -> bytes:
        plain = await self.chunk(content, key, index, last)
        return plain if begin == 0 and stop == len(plain) else plain[begin:stop]

    def _note_bad(self, blob: str, provider: str) -> None:
        async def note() -> None:
            await self._ledger.write(lambda tx: blobs.mark_bad(tx, blob, provider))

        task = asyncio.create_task(note())
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)
