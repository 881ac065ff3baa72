"""Turns a stream of bytes into sealed chunks at the providers, with flat memory."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator

from automator67.engine.buckets import blobs
from automator67.engine.buckets.fleet import Fleet
from automator67.engine.buckets.keys import Keys
from automator67.engine.buckets.layout import Layout
from automator67.engine.buckets.ledger import Ledger
from automator67.engine.buckets.records import About, Chunk, Content, Version
from automator67.engine.crash import point

SMALL = 512 * 1024
"""Up to this size an object travels in a batch of the log instead of in blobs of its own."""
_AT_ONCE = 4
_INTENTS = 16


class Writer:
    """Writes contents for one bucket. ``cut``: bytes per chunk."""

    def __init__(self, ledger: Ledger, fleet: Fleet, keys: Keys, layout: Layout, session: str, cut: int) -> None:
        self._ledger, self._fleet, self._keys, self._layout = ledger, fleet, keys, layout
        self._session, self._cut = session, cut

    async def write(self, chunks: AsyncIterator[bytes], *, pack: bool) -> tuple[Content | None, bytes]:
        """Seal and write all of ``chunks``; return the content, and its sealed bytes where they are still to be packed.

        Small ones are packed where ``pack`` allows it. The content of nothing is None.
        """
        cutter = _Cutter(chunks, self._cut)
        first = await cutter.next()
        if not first:
            return None, b""
        id_, data_key = new_id(), os.urandom(32)
        second = await cutter.next() if len(first) == self._cut else b""
        if pack and not second and len(first) <= SMALL:
            sealed = self._keys.seal_chunk(id_, data_key, 0, True, first)
            return Content(
                id_, len(first), self._cut, self._keys.wrap(id_, data_key), (Chunk("", 0, len(sealed)),)
            ), sealed
        places: list[Chunk] = []
        names: deque[str] = deque()
        under_way: deque[asyncio.Task[Chunk]] = deque()
        size, index, now, following = 0, 0, first, second
        try:
            while now:
                if not names:
                    names.extend(await self._reserve())
                last = not following
                under_way.append(asyncio.create_task(self._chunk(names.popleft(), id_, data_key, index, last, now)))
                size, index = size + len(now), index + 1
                now = following
                following = await cutter.next() if len(now) == self._cut else b""
                if len(under_way) >= _AT_ONCE:
                    places.append(await under_way.popleft())
            while under_way:
                places.append(await under_way.popleft())
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            if names:
                await self._ledger.write(lambda tx: blobs.unintend(tx, names))
        return Content(id_, size, self._cut, self._keys.wrap(id_, data_key), tuple(places)), b""

    async def _reserve(self) -> list[str]:
        names = [self._layout.chunk(new_id()) for _ in range(_INTENTS)]
        now = time.time()
        await self._ledger.write(lambda tx: blobs.intend(tx, names, 0, self._session, now))
        point("bucket-chunk-intent")
        return names

    async def _chunk(
        self, name: str, content: str, key: bytes, index: int, last: bool, plain: bytes | memoryview
    ) -> Chunk:
        sealed = await asyncio.to_thread(self._keys.seal_chunk, content, key, index, last, plain)
        providers = await self._fleet.write(name, sealed)
        await self._ledger.write(lambda tx: blobs.written(tx, name, len(sealed), providers))
        point("bucket-chunk-written")
        return Chunk(name, 0, len(sealed))


class _Cutter:
    """Makes pieces of exactly ``cut`` bytes of whatever comes; the last one may be shorter."""

    def __init__(self, chunks: AsyncIterator[bytes], cut: int) -> None:
        self._chunks, self._cut = chunks, cut
        self._rest: list[bytes | memoryview] = []
        self._held = 0

    async def next(self) -> bytes | memoryview:
        while self._held < self._cut:
            try:
                piece = await anext(self._chunks)
            except StopAsyncIteration:
                break
            self._rest.append(piece)
            self._held += len(piece)
        whole = self._rest[0] if len(self._rest) == 1 else b"".join(self._rest)
        if len(whole) > self._cut:
            self._rest = [memoryview(whole)[self._cut :]]
            self._held = len(whole) - self._cut
            return memoryview(whole)[: self._cut]
        self._rest, self._held = [], 0
        return whole


def new_id() -> str:
    """Return a new id: 16 random bytes in hexadecimal digits."""
    return os.urandom(16).hex()


def random_etag(parts: int = 0) -> str:
    """Return a new ETag; its dash says that it is no MD5."""
    return f"{new_id()}-{parts or 1}"


def made(key: str, about: About, new: tuple[Content, ...] = (), parts: int = 0) -> Version:
    """Return a new version of what was written."""
    size = sum(c.size for c in new)
    return Version(key, new_id(), 0, size, random_etag(parts), time.time(), about, tuple(c.id for c in new), parts)
