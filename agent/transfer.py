"""Streams between the worker and the engine: sources come, images come and go. For the worker, not the resident.

The last 32 bytes of each stream are the SHA-256 of all before them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from automator67.agent.http1 import Connection, HttpError, chunk
from automator67.agent.link import Link, LinkError, place_of
from automator67.agent.state import membership

PIECE = 256 * 1024
PATIENCE = 60.0
"""How long the other side may do nothing (seconds)."""
_SUM = hashlib.sha256().digest_size
_HELD_BACK = 64 * 1024
"""What is passed on only when the checksum holds: without its end, nobody takes a stream for whole."""


class TransferError(Exception):
    """A stream broke off, or is not what was sent; one line."""


def link_of(state: str) -> Link:
    """Return the way to the engine of the agent with this state directory."""
    return Link(place_of(membership(state).engine), f"{state}/ca.pem", f"{state}/identity.pem")


class Download:
    """What the engine answers to a request, in pieces, checked to be whole before the last is given out.

    Iterating raises TransferError. ``moved(bytes)`` is called with the total so far.
    """

    def __init__(
        self, link: Link, method: str, target: str, body: bytes = b"", moved: Callable[[int], None] = lambda _: None
    ) -> None:
        self._conn = link.connect()
        self._moved = moved
        try:
            self._status, self._reader, self._first = self._conn.stream(method, target, PATIENCE, body)
            if self._status != 200:
                raise TransferError(self._refusal())
        except (OSError, TransferError) as e:
            self._conn.close()
            raise e if isinstance(e, TransferError) else TransferError(f"the engine does not answer: {e}") from None

    def __iter__(self) -> Iterator[bytes]:
        held, whole, total = bytearray(), hashlib.sha256(), 0
        try:
            for data in self._pieces():
                held += data
                total += len(data)
                self._moved(total)
                if len(held) >= PIECE + _HELD_BACK:
                    piece = bytes(held[:-_HELD_BACK])
                    del held[:-_HELD_BACK]
                    whole.update(piece)
                    yield piece
            piece, given = bytes(held[:-_SUM]), bytes(held[-_SUM:])
            whole.update(piece)
            if whole.digest() != given:
                raise TransferError("what arrived is not what was sent: its checksum is wrong")
            yield piece
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._conn.close()

    def _pieces(self) -> Iterator[bytes]:
        yield self._first
        try:
            self._conn.sock.settimeout(PATIENCE)
            while not self._reader.done:
                data = self._conn.sock.recv(PIECE)
                if not data:
                    raise TransferError("the stream broke off")
                yield self._reader.feed(data)
        except OSError as e:
            raise TransferError(f"the stream broke off: {e}") from None

    def _refusal(self) -> str:
        body = bytearray(self._first)
        while not self._reader.done and len(body) < 4096:
            self._conn.sock.settimeout(PATIENCE)
            data = self._conn.sock.recv(4096)
            if not data:
                break
            body += self._reader.feed(data)
        try:
            return str(json.loads(body)["error"])
        except (ValueError, KeyError, TypeError):
            return f"the engine answers {self._status}"


class Upload:
    """A request whose body is written piece by piece. ``end`` completes it, ``close`` does not."""

    def __init__(self, link: Link, method: str, target: str, kind: str) -> None:
        self._conn: Connection = link.connect()
        self._whole = hashlib.sha256()
        headers = {"Transfer-Encoding": "chunked", "Content-Type": kind}
        self._send(lambda: self._conn.send(method, target, b"", time.monotonic() + PATIENCE, headers))

    def write(self, data: bytes | memoryview) -> int:
        """Send a piece. Raises TransferError."""
        data = bytes(data)
        if data:
            self._whole.update(data)
            self._send(lambda: self._conn.write(chunk(data), time.monotonic() + PATIENCE))
        return len(data)

    def line(self, doc: Mapping[str, Any]) -> None:
        """Send an object as one line of JSON. Raises TransferError."""
        self.write(json.dumps(doc, separators=(",", ":")).encode() + b"\n")

    def end(self, *, checksum: bool) -> None:
        """Complete the body, and wait until the engine has taken it. Raises TransferError."""
        if checksum:
            self.write(self._whole.digest())
        deadline = time.monotonic() + PATIENCE
        self._send(lambda: self._conn.write(chunk(b""), deadline))
        try:
            status, _ = self._conn.head(deadline)
        except OSError as e:
            raise TransferError(f"the engine does not answer: {e}") from None
        if status != 200:
            raise TransferError(f"the engine answers {status}")

    def close(self) -> None:
        """Let go; a body that is not complete is known as such."""
        self._conn.close()

    @staticmethod
    def _send(act: Callable[[], None]) -> None:
        try:
            act()
        except (HttpError, LinkError, OSError) as e:
            raise TransferError(f"the engine took no more: {e}") from None
