"""One connection as a stream of whole messages, with back-pressure both ways."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from automator67.engine.shards.wire.messages import Malformed

MAX_MESSAGE = 1 << 30
"""Bytes; PostgreSQL's own limit."""

_HIGH, _LOW = 1 << 20, 1 << 18
_BULK = frozenset(b"Dd")


class Closed(Exception):
    """The other side has gone."""


class Channel(asyncio.Protocol):
    """Reads and writes messages. Neighbouring DataRow or CopyData messages come as one item: a *run* of them.

    ``limit`` is the size in bytes above which a message from the other side ends the connection.

    ``tap`` takes all bytes uncut, and nothing when the connection is lost. ``offer`` is asked first about bytes that
    come while nothing else waits, and tells whether it took them. ``flowing`` hears when what was written has gone.
    """

    def __init__(self, limit: int = MAX_MESSAGE, *, startup: bool = False, bulk: bool = True) -> None:
        """``startup``: the first messages have no type byte; ``bulk``: whether runs are wanted."""
        self.limit = limit
        self.startup = startup
        self._bulk = _BULK if bulk else frozenset(b"d")
        self._buffer = bytearray()
        self._items: deque[bytes] = deque()
        self._wanted = 0
        self._held = 0
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._ended: Exception | None = None
        self.transport: asyncio.Transport
        self.tap: Callable[[bytes], None] | None = None
        self.offer: Callable[[bytes], bool] | None = None
        self.flowing: Callable[[], None] | None = None
        self._quiet = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; also after it has become TLS."""
        # uvloop's transports are none of asyncio's classes.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(_HIGH)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember that nothing comes any more."""
        self._ended = self._ended or Closed(str(exc or "the connection was closed"))
        self._quiet = False
        self._wake()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self.tap is not None:
            self.tap(b"")

    def pause_writing(self) -> None:
        """Hold back who writes."""
        self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Let go on who writes."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
        if self.flowing is not None:
            self.flowing()

    @property
    def clogged(self) -> bool:
        """Whether the other side takes less than is written."""
        return self._drained is not None

    def data_received(self, data: bytes) -> None:
        """Cut what has come into messages, or pass it on as it is."""
        if self.tap is not None:
            self.tap(data)
            return
        if self.offer is not None and not (self._buffer or self._items or self._quiet) and self.offer(data):
            return
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        try:
            at = self._cut(data)
        except Malformed as trouble:
            self._ended = trouble
            self.transport.abort()
            self._wake()
            return
        if at < len(data):
            self._buffer += data[at:]
            self._wanted = self._size(data, at)
        if self._held > _HIGH and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        if self._items:
            self._wake()

    def _size(self, data: bytes, at: int) -> int:
        """Return how many bytes must be there before it is worth looking at them again."""
        head = 0 if self.startup else 1
        known = len(data) - at >= head + 4
        return head + int.from_bytes(data[at + head : at + head + 4], "big") if known else head + 4

    def _cut(self, data: bytes) -> int:
        at, end, head = 0, len(data), 0 if self.startup else 1
        run = -1
        while end - at >= head + 4:
            size = int.from_bytes(data[at + head : at + head + 4], "big")
            if not 4 <= size <= self.limit:
                raise Malformed(f"a message of {size} bytes")
            if at + head + size > end:
                break
            bulk = head == 1 and data[at] in self._bulk
            if run >= 0 and not (bulk and data[at] == data[run]):
                self._put(data[run:at])
                run = -1
            if bulk:
                run = at if run < 0 else run
            else:
                self._put(data[at : at + head + size])
            at += head + size
            if self.startup:
                break
        if run >= 0:
            self._put(data[run:at])
        return at

    def _put(self, item: bytes) -> None:
        self._items.append(item)
        self._held += len(item)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done() and not self._quiet:
            self._waiter.set_result(None)

    def quiet(self, quiet: bool) -> None:
        """Let who reads sleep on though messages come, until it is said that it may wake."""
        self._quiet = quiet
        if self._items and not quiet:
            self._wake()

    def started(self) -> None:
        """From now on messages have a type byte; cut what has come already."""
        self.startup = False
        rest = bytes(self._buffer)
        self._buffer.clear()
        if rest:
            self.data_received(rest)

    @property
    def ended(self) -> bool:
        """Whether the other side has gone, or we have."""
        return self._ended is not None

    @property
    def waiting(self) -> bool:
        """Whether a message is at hand."""
        return bool(self._items)

    def peek(self) -> bytes:
        """Return the type of the next message that is at hand, or nothing."""
        return self._items[0][:1] if self._items else b""

    async def read(self) -> bytes:
        """Return the next message, or run of messages. Raises Closed, Malformed."""
        while not self._items:
            if self._ended is not None:
                raise self._ended
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._items.popleft()
        self._held -= len(item)
        if self._paused and self._held < _LOW:
            self._paused = False
            self.transport.resume_reading()
        return item

    @property
    def early(self) -> bool:
        """Whether bytes have come that no one has read: after a request for TLS that is an attack."""
        return bool(self._buffer or self._items)

    def write(self, data: bytes) -> None:
        """Send; nothing happens when the connection is gone."""
        if self._ended is None:
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the other side has taken most of what was written."""
        if self._drained is not None:
            await self._drained
        if self._ended is not None:
            raise self._ended

    async def start_tls(self, context: ssl.SSLContext, *, server: bool, name: str | None = None) -> None:
        """Go on in TLS. Raises OSError, ssl.SSLError."""
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(
            self.transport, self, context, server_side=server, server_hostname=None if server else name
        )
        assert transport is not None
        self.connection_made(transport)

    def close(self) -> None:
        """Close the connection; what was written is still sent."""
        self._ended = self._ended or Closed("the connection was closed")
        if hasattr(self, "transport"):
            self.transport.close()
