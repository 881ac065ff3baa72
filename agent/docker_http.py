"""Reads from the Docker Engine's API over its Unix socket, each call with a deadline. Changes nothing.

Paths carry no version: what is read here has had the same shape in every version since 1.24, and newer engines
refuse old version numbers.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from automator67.agent.http1 import BodyReader, Connection, HttpError, Reply

LIST_TIMEOUT = 5.0
INSPECT_TIMEOUT = 3.0


class DockerApi:
    """The Docker Engine behind one socket. Every method raises OSError (TimeoutError when it does not answer)."""

    def __init__(self, socket_path: str) -> None:
        self._path = socket_path

    def connect(self, timeout: float) -> Connection:
        """Open a connection; the caller closes it."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(self._path)
        except BlockingIOError:
            # The engine does not take connections up and its queue is full.
            sock.close()
            raise TimeoutError("the Docker Engine does not answer") from None
        except BaseException:
            sock.close()
            raise
        return Connection(sock, "docker")

    def call(self, method: str, target: str, timeout: float, body: bytes = b"") -> Reply:
        """Make one call and return the complete answer, whatever its status."""
        deadline = time.monotonic() + timeout
        conn = self.connect(timeout)
        try:
            return conn.request(method, target, body, timeout=deadline - time.monotonic(), limit=32 * 2**20)
        finally:
            conn.close()

    def get(self, target: str, timeout: float) -> Any:
        """Return the JSON of a GET; None for 404."""
        reply = self.call("GET", target, timeout)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise HttpError(f"the Docker Engine answers {reply.status} to GET {target.partition('?')[0]}")
        return reply.json()

    def containers(self) -> list[dict[str, Any]]:
        """Return all containers, running or not, in short form."""
        return list(self.get("/containers/json?all=1", LIST_TIMEOUT) or [])

    def inspect(self, container: str) -> dict[str, Any] | None:
        """Return one container in full, or None when it is gone."""
        doc = self.get(f"/containers/{percent(container)}/json", INSPECT_TIMEOUT)
        return doc if isinstance(doc, dict) else None

    def volumes(self, labels: list[str]) -> list[dict[str, Any]]:
        """Return the volumes that carry all of the labels."""
        doc = self.get(f"/volumes?filters={_filters(label=labels)}", LIST_TIMEOUT) or {}
        return list(doc.get("Volumes") or [])

    def last_line(self, container: str) -> str:
        """Return the last line a container wrote, or nothing."""
        target = f"/containers/{percent(container)}/logs?stdout=1&stderr=1&tail=1"
        reply = self.call("GET", target, INSPECT_TIMEOUT)
        text = b"".join(data for _, data in Frames().feed(reply.body)) if reply.status == 200 else b""
        lines = text.decode(errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.call("GET", "/_ping", INSPECT_TIMEOUT)

    def events(self, timeout: float) -> tuple[Connection, BodyReader, bytes]:
        """Begin the stream of container events; the caller reads on and closes the connection."""
        wanted = ["create", "start", "die", "destroy", "stop", "kill", "pause", "unpause", "rename", "update", "oom"]
        conn = self.connect(timeout)
        try:
            status, reader, first = conn.stream(
                "GET", f"/events?filters={_filters(type=['container'], event=wanted)}", timeout
            )
            if status != 200:
                raise HttpError(f"the Docker Engine answers {status} to GET /events")
        except BaseException:
            conn.close()
            raise
        return conn, reader, first


class Frames:
    """Takes the pieces out of a container's multiplexed output, however it is cut. Does no I/O.

    The format is that of the engine's attach call: 8 bytes of head (stream, three zeros, length big-endian). A
    container with a terminal has no such heads: then the whole is ``out``.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._plain = False

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Take bytes and return what they complete, as (``out`` or ``err``, bytes)."""
        buffer = self._buffer
        buffer += data
        found: list[tuple[str, bytes]] = []
        while buffer:
            if self._plain or (len(buffer) >= 4 and (buffer[0] > 2 or any(buffer[1:4]))):
                self._plain = True
                found.append(("out", bytes(buffer)))
                buffer.clear()
                break
            size = 8 + int.from_bytes(buffer[4:8], "big")
            if len(buffer) < max(8, size):
                break
            found.append(("err" if buffer[0] == 2 else "out", bytes(buffer[8:size])))
            del buffer[:size]
        return found


def percent(text: str) -> str:
    """Return text as it must stand in a path or query."""
    return "".join(c if c.isascii() and c.isalnum() else "".join(f"%{b:02X}" for b in c.encode()) for c in text)


def _filters(**wanted: list[str]) -> str:
    return percent(json.dumps(wanted, separators=(",", ":")))
