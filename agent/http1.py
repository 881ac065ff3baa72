"""A small HTTP/1.1 client over any connected socket, in which every call has a deadline.

The standard library's client costs 1.5 MiB of resident memory more and its timeouts are per read: a peer that sends
a byte now and then can hold it for ever. Framing is that of RFC 9112: chunked, by length, or until the end.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

_LONGEST_HEAD = 64 * 1024
_READ = 16 * 1024


class HttpError(OSError):
    """The peer does not speak HTTP as it should."""


class EndOfStream(HttpError):
    """The peer closed the connection; ``first`` when that was before it ever answered on it."""

    def __init__(self, first: bool) -> None:
        super().__init__("the connection was closed before an answer came")
        self.first = first


class Reply(NamedTuple):
    """A complete answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON. Raises HttpError."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise HttpError(f"answer {self.status} is not JSON") from None


class BodyReader:
    """Takes a body out of the bytes of a connection, whatever its framing. Does no I/O.

    ``ends`` is False for a body that lasts as long as the connection.
    """

    def __init__(self, headers: Mapping[str, str], bodyless: bool = False) -> None:
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length", "")
        if length and not length.isdigit():
            raise HttpError("bad content-length")
        self._left = 0 if bodyless or self._chunked else int(length) if length else -1
        self._buffer = bytearray()
        self._in_chunk = False
        self.done = bodyless or (self._left == 0 and not self._chunked)
        self.ends = self._chunked or self._left >= 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the connection and return what of the body they complete. Raises HttpError."""
        if self.done:
            return b""
        if not self._chunked:
            if self._left < 0:
                return data
            data = data[: self._left]
            self._left -= len(data)
            self.done = self._left == 0
            return data
        self._buffer += data
        out = bytearray()
        while not self.done and self._step(out):
            pass
        return bytes(out)

    def _step(self, out: bytearray) -> bool:
        """Take one piece out of the buffer; return False when more bytes are needed."""
        if self._left > 0:
            if not self._buffer:
                return False
            piece = self._buffer[: self._left]
            del self._buffer[: len(piece)]
            out += piece
            self._left -= len(piece)
            return True
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > 1024:
                raise HttpError("bad chunk")
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if self._in_chunk:
            # The line end that closes a chunk; after the last chunk (left is -1) it closes the trailers.
            self._in_chunk = False
            return True
        if self._left == -1:
            self.done = not line
            return True
        try:
            size = int(line.split(b";")[0].strip(), 16)
        except ValueError:
            raise HttpError("bad chunk") from None
        if size < 0:
            raise HttpError("bad chunk")
        self._left, self._in_chunk = (size, True) if size else (-1, False)
        return True


def chunk(data: bytes) -> bytes:
    """Return bytes framed as one chunk of a body; none are its end."""
    return b"%X\r\n%b\r\n" % (len(data), data)


class Connection:
    """One connection for requests one after another. For one thread, but for ``interrupt``."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        self.sock = sock
        self._host = host
        self._rest = b""
        self._answered = False

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        timeout: float,
        limit: int = 8 * 2**20,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request and return the whole answer within ``timeout`` seconds.

        Raises TimeoutError, OSError, HttpError (EndOfStream when the peer closed instead of answering; also when
        the body is larger than ``limit`` bytes).
        """
        deadline = time.monotonic() + timeout
        self.send(method, target, body, deadline, headers)
        status, found = self.head(deadline)
        reader = BodyReader(found, bodyless=status in (204, 304) or method == "HEAD")
        parts, size = [reader.feed(self.rest())], 0
        while not reader.done:
            data = self._receive(deadline)
            if not data:
                if reader.ends:
                    raise HttpError("the connection was closed within an answer")
                break
            parts.append(reader.feed(data))
            size += len(parts[-1])
            if size > limit:
                raise HttpError(f"the answer is larger than {limit} bytes")
        return Reply(status, found, b"".join(parts))

    def send(
        self, method: str, target: str, body: bytes, deadline: float, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a request's head and body."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        for name, value in (headers or {}).items():
            lines.append(f"{name}: {value}")
        if body or (method in ("POST", "PUT") and "Transfer-Encoding" not in (headers or {})):
            lines.append(f"Content-Length: {len(body)}")
            if body and "Content-Type" not in (headers or {}):
                lines.append("Content-Type: application/json")
        self.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body, deadline)

    def write(self, data: bytes, deadline: float) -> None:
        """Send bytes as they are. Raises TimeoutError, OSError."""
        self._arm(deadline)
        self.sock.sendall(data)

    def head(self, deadline: float) -> tuple[int, dict[str, str]]:
        """Return status and headers of the answer that comes next; interim answers (1xx) are skipped."""
        while True:
            data = self._rest
            while b"\r\n\r\n" not in data:
                more = self._receive(deadline)
                if not more:
                    raise EndOfStream(first=not self._answered)
                data += more
                if len(data) > _LONGEST_HEAD:
                    raise HttpError("the answer's head is too large")
            head, _, self._rest = data.partition(b"\r\n\r\n")
            self._answered = True
            status, headers = _parse_head(head)
            if status >= 200 or status == 101:
                return status, headers

    def stream(self, method: str, target: str, timeout: float, body: bytes = b"") -> tuple[int, BodyReader, bytes]:
        """Send a request and return what ``answer`` does."""
        deadline = time.monotonic() + timeout
        self.send(method, target, body, deadline)
        return self.answer(deadline - time.monotonic())

    def answer(self, timeout: float) -> tuple[int, BodyReader, bytes]:
        """Return status, the reader for the body and what of the body came with the head.

        The caller reads ``sock`` itself and feeds the reader.
        """
        status, headers = self.head(time.monotonic() + timeout)
        reader = BodyReader(headers)
        return status, reader, reader.feed(self.rest())

    def interrupt(self) -> None:
        """Make a thread that waits on this connection see its end; that thread then closes it."""
        # Past the TLS layer, which is not for two threads: only the kernel's connection ends.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close at once."""
        self.sock.close()

    def rest(self) -> bytes:
        """Return what came with the last head beyond it."""
        rest, self._rest = self._rest, b""
        return rest

    def _receive(self, deadline: float) -> bytes:
        self._arm(deadline)
        return self.sock.recv(_READ)

    def _arm(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        self.sock.settimeout(left)


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise HttpError("the answer is not HTTP")
    headers = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(parts[1]), headers
