"""A web server whose answers go on: a websocket echo, server-sent events, an upload that is counted, not kept."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.edge import app_port

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key: str) -> str:
    """Return what a server answers to a websocket client's key (RFC 6455)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()).decode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    go_on: threading.Event

    def do_GET(self) -> None:
        if self.path.endswith("/events"):
            return self._events()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(self.headers["Sec-WebSocket-Key"]))
        self.end_headers()
        while (frame := _read_frame(self.rfile.read)) is not None:
            self.wfile.write(bytes([0x81, len(frame)]) + frame)
        self.close_connection = True
        return None

    def do_PUT(self) -> None:
        left, total = int(self.headers["Content-Length"]), 0
        while total < left and (chunk := self.rfile.read(min(1 << 16, left - total))):
            total += len(chunk)
        body = str(total).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        self.server.go_on.wait(30)  # type: ignore[attr-defined]
        self.wfile.write(b"data: second\n\n")
        self.close_connection = True

    def log_message(self, *_args: object) -> None:
        pass


def _read_frame(read: object) -> bytes | None:
    """Return the text of a short masked frame; None at the end or for a closing one."""
    head = read(2)  # type: ignore[operator]
    if len(head) < 2 or head[0] & 0xF == 8:
        return None
    mask = read(4)  # type: ignore[operator]
    data = read(head[1] & 0x7F)  # type: ignore[operator]
    return bytes(b ^ mask[n % 4] for n, b in enumerate(data))


class StreamBackend:
    """The server; ``go_on`` lets its events end."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", app_port()), _Handler)
        self._server.daemon_threads = True
        self.go_on = self._server.go_on = threading.Event()  # type: ignore[attr-defined]
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()


def send_frame(to: socket.socket, text: str) -> None:
    """Send a short text as a websocket client."""
    data, mask = text.encode(), b"\x01\x02\x03\x04"
    to.sendall(struct.pack("BB", 0x81, 0x80 | len(data)) + mask + bytes(b ^ mask[n % 4] for n, b in enumerate(data)))
