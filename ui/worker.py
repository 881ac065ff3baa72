"""A threaded gunicorn worker that slow clients cannot starve.

gunicorn's own threaded worker gives a connection to a thread at its first byte; a handful of clients that send one
byte a second then occupy every thread. Here the event loop collects each request until it is whole
(``ui/arrival.py``) and only then hands it to a thread; what does not arrive in time is dropped, what is closed is
drained by the loop too. The framing itself is still gunicorn's.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from gunicorn.workers.gthread import TConn, ThreadWorker

from automator67.ui.arrival import Arrival

ARRIVAL_SECONDS: Final = 10.0
"""Time for a whole request from its first byte, and for the first byte from the opening of the connection."""
LINGER_SECONDS: Final = 2.0
"""Time in which a client may finish sending what we will not read, so that it sees our answer and not a reset."""
MAX_BUFFERED_BYTES: Final = 32 * 2**20
"""Of all requests that are arriving, together."""
SOCKET_SECONDS: Final = 10
"""Longest wait of a thread for a client that does not take its answer."""

_DRAIN_BYTES: Final = 64 * 2**20
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_TIMEOUT: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)


class BufferedWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """See the module. Runs in gunicorn's worker process; everything but ``handle_request`` in its main thread."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arriving: dict[TConn, Arrival] = {}
        self._closing: dict[TConn, int] = {}
        self._oversize: set[TConn] = set()
        self._buffered = 0

    def accept(self, listener: socket.socket) -> None:
        """Take a connection and wait for its first request."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        limit = struct.pack("ll", SOCKET_SECONDS, 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.nr_conns += 1
        self._await_request(TConn(self.cfg, client, address, listener.getsockname()), ARRIVAL_SECONDS)
        if self.nr_conns >= self.worker_connections and self._arriving:
            # Full: the connection that has been arriving longest makes room, so that we never stop accepting.
            self._drop(next(iter(self._arriving)))

    def finish_request(self, conn: TConn, fs: Future[Any]) -> None:
        """Go on with a connection whose request a thread has answered."""
        try:
            keep = not fs.cancelled() and bool(fs.result()) and self.alive
            early = conn.parser.unreader.take_buffered() if keep else b""
        except Exception:
            self._drop(conn)
            return
        if not keep:
            self._linger(conn)
            return
        self._await_request(conn, self.cfg.keepalive)
        if early:
            self._arrived(conn, early)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer a request, in a thread; after one whose body was not taken whole the connection ends."""
        if conn in self._oversize:
            req.force_close()
        try:
            return super().handle_request(req, conn)
        except BlockingIOError:
            # gunicorn is silent about a connection that was reset, and that is what this amounts to.
            raise ConnectionResetError(errno.ECONNRESET, "the client does not take its answer") from None

    def murder_pending(self) -> None:
        """End what has taken too long; called by the worker's loop about once a second."""
        now = time.monotonic()
        for conn in [c for c in self._arriving if c.timeout <= now or not self.alive]:
            self._answer_and_drop(conn, _TIMEOUT if self._arriving[conn].data else b"")
        for conn in [c for c in self._closing if c.timeout <= now]:
            self._drop(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Begin to stop: what has not asked yet is told so now, and not when gunicorn's patience is at its end."""
        super()._cap_keepalive(deadline)
        self.murder_pending()

    def _await_request(self, conn: TConn, seconds: float) -> None:
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + seconds
        self._arriving[conn] = Arrival()
        self.poller.register(conn.sock, 1, partial(self._readable, conn))

    def _readable(self, conn: TConn, sock: socket.socket) -> None:
        try:
            piece = sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            piece = b""
        if piece:
            self._arrived(conn, piece)
        else:
            self._drop(conn)

    def _arrived(self, conn: TConn, piece: bytes) -> None:
        arrival = self._arriving[conn]
        if not arrival.data:
            conn.timeout = time.monotonic() + ARRIVAL_SECONDS
        self._buffered += len(piece)
        state = arrival.feed(piece)
        if state == "more":
            if self._buffered > MAX_BUFFERED_BYTES:
                self._drop(next(c for c, a in self._arriving.items() if a.data))
        elif state == "continue":
            with contextlib.suppress(OSError):
                conn.sock.send(_CONTINUE)
        elif state == "head too large":
            self._answer_and_drop(conn, _HEAD_TOO_LARGE)
        else:
            if state == "oversize":
                self._oversize.add(conn)
            self._forget(conn)
            conn.init()
            conn.parser.unreader.unread(bytes(arrival.data))
            conn.data_ready = True
            self.enqueue_req(conn)

    def _linger(self, conn: TConn) -> None:
        """Say that nothing more will come, and swallow what the client still sends, without holding a thread."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
            return
        conn.timeout = time.monotonic() + LINGER_SECONDS
        self._closing[conn] = 0
        self.poller.register(conn.sock, 1, partial(self._swallow, conn))

    def _swallow(self, conn: TConn, sock: socket.socket) -> None:
        try:
            size = len(sock.recv(2**18))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            size = 0
        self._closing[conn] += size
        if size == 0 or self._closing[conn] > _DRAIN_BYTES:
            self._drop(conn)

    def _answer_and_drop(self, conn: TConn, answer: bytes) -> None:
        with contextlib.suppress(OSError):
            conn.sock.send(answer)
        self._drop(conn)

    def _forget(self, conn: TConn) -> None:
        arrival = self._arriving.pop(conn, None)
        if arrival is not None:
            self._buffered -= len(arrival.data)
        closing = self._closing.pop(conn, None)
        if arrival is not None or closing is not None:
            self.poller.unregister(conn.sock)

    def _drop(self, conn: TConn) -> None:
        self._forget(conn)
        self._oversize.discard(conn)
        self.nr_conns -= 1
        conn.close()
