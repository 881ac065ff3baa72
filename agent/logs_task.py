"""Streams the log of an instance to the engine, until it ends or nobody reads any more."""

from __future__ import annotations

import contextlib
import json
import os
import select
import ssl
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from automator67.agent import logfiles
from automator67.agent.docker_http import DockerApi
from automator67.agent.docker_read import epoch_seconds
from automator67.agent.http1 import Connection, HttpError
from automator67.agent.link import Link, LinkError
from automator67.agent.model import Seen

_WRITE_TIMEOUT = 20.0
_LONGEST_LINE = 16 * 1024
_FILE_POLL = 0.25


class LogsTask(NamedTuple):
    """What the engine wants to read. ``since`` in seconds since the epoch, 0 for all."""

    id: str
    instance: str
    tail: int
    follow: bool
    since: float


class Line(NamedTuple):
    """One line of a log: when it was written (or read, where that is not recorded), on which stream, what."""

    at: float
    stream: str
    text: str


def task_of(doc: object) -> LogsTask | None:
    """Return a task of a ``GET /v1/desired`` answer; None for one that is not understood."""
    if not isinstance(doc, dict) or doc.get("kind") != "logs":
        return None
    name, instance = doc.get("id"), doc.get("instance")
    if not isinstance(name, str) or not isinstance(instance, str) or not name or not name.replace("-", "").isalnum():
        return None
    tail, since = doc.get("tail"), doc.get("since")
    return LogsTask(
        name,
        instance,
        min(10_000, tail) if isinstance(tail, int) and tail >= 0 else 100,
        bool(doc.get("follow")),
        float(since) if isinstance(since, int | float) else 0.0,
    )


def run(task: LogsTask, link: Link, source: Iterator[list[Line]]) -> None:
    """Send what ``source`` yields to the engine. An empty list is a moment without news: a chance to look up.

    Raises nothing: a task that fails has failed with its reader.
    """
    conn = None
    try:
        conn = link.connect()
        headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/x-ndjson"}
        conn.send("POST", f"/v1/tasks/{task.id}", b"", time.monotonic() + _WRITE_TIMEOUT, headers)
        for lines in source:
            if _nobody_reads(conn):
                return
            if lines:
                body = "".join(_as_json(line) for line in lines).encode()
                conn.write(b"%X\r\n%b\r\n" % (len(body), body), time.monotonic() + _WRITE_TIMEOUT)
        deadline = time.monotonic() + _WRITE_TIMEOUT
        conn.write(b"0\r\n\r\n", deadline)
        conn.head(deadline)
    except (LinkError, OSError):
        return
    finally:
        if conn is not None:
            conn.close()
        close = getattr(source, "close", None)
        if close is not None:
            close()


def says(text: str) -> Iterator[list[Line]]:
    """Yield a log of one line: why there is no other."""
    yield [Line(time.time(), "err", text)]


def docker_lines(docker: DockerApi, seen: Seen, task: LogsTask) -> Iterator[list[Line]]:
    """Yield the lines of a container's log as they come."""
    target = (
        f"/containers/{seen.handle}/logs?stdout=1&stderr=1&timestamps=1&tail={task.tail}"
        f"&follow={int(task.follow)}&since={task.since:.0f}"
    )
    conn = docker.connect(5.0)
    try:
        status, reader, data = conn.stream("GET", target, 10.0)
        if status != 200:
            yield from says(f"the Docker Engine answers {status} when asked for the log")
            return
        frames = FrameReader()
        yield frames.feed(data)
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        while not reader.done:
            if not poll.poll(1000):
                yield []
                continue
            data = conn.sock.recv(16 * 1024)
            if not data:
                break
            yield frames.feed(reader.feed(data))
        yield frames.end()
    except HttpError:
        return
    finally:
        conn.close()


class FrameReader:
    """Takes lines out of a container's multiplexed log stream (see docker_http.frames), however it is cut. Pure."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._partial: dict[str, bytes] = {"out": b"", "err": b""}
        self._plain = False

    def feed(self, data: bytes) -> list[Line]:
        """Take bytes and return the lines that are complete."""
        self._buffer += data
        found: list[Line] = []
        while self._buffer:
            if self._plain or (len(self._buffer) >= 4 and (self._buffer[0] > 2 or any(self._buffer[1:4]))):
                # A container with a terminal: one stream without frames.
                self._plain = True
                found += self._split("out", bytes(self._buffer))
                self._buffer.clear()
                break
            if len(self._buffer) < 8:
                break
            size = int.from_bytes(self._buffer[4:8], "big")
            if len(self._buffer) < 8 + size:
                break
            found += self._split("err" if self._buffer[0] == 2 else "out", bytes(self._buffer[8 : 8 + size]))
            del self._buffer[: 8 + size]
        return found

    def end(self) -> list[Line]:
        """Return what is left when the stream has ended: a last line without a line end."""
        found: list[Line] = []
        for stream, rest in self._partial.items():
            if rest:
                found.append(_timed(stream, rest))
        return found

    def _split(self, stream: str, data: bytes) -> list[Line]:
        *lines, rest = (self._partial[stream] + data).split(b"\n")
        self._partial[stream] = rest[:_LONGEST_LINE]
        return [_timed(stream, line) for line in lines]


def file_lines(paths: tuple[str, str], task: LogsTask) -> Iterator[list[Line]]:
    """Yield the lines of a process's logs. When a line of the past was written is not recorded: they bear the time
    of the last change of their file."""
    offsets: dict[str, int] = {}
    for stream, path in zip(("out", "err"), paths, strict=True):
        with contextlib.suppress(OSError):
            status = os.stat(path)
            offsets[path] = status.st_size
            if status.st_mtime >= task.since:
                yield [Line(status.st_mtime, stream, text) for text in logfiles.tail(path, task.tail)]
    partial = dict.fromkeys(paths, b"")
    while task.follow and any(os.path.exists(path) for path in paths):
        found: list[Line] = []
        for stream, path in zip(("out", "err"), paths, strict=True):
            data, offsets[path] = _news(path, offsets.get(path, 0))
            *lines, partial[path] = (partial[path] + data).split(b"\n")
            partial[path] = partial[path][:_LONGEST_LINE]
            found += [Line(time.time(), stream, line.decode(errors="replace")) for line in lines]
        yield found
        if not found:
            time.sleep(_FILE_POLL)


def _news(path: str, offset: int) -> tuple[bytes, int]:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        # It has been rotated: what is there now is new.
        file.seek(offset if size >= offset else 0)
        data = file.read(256 * 1024)
        return data, file.tell()
    return b"", 0


def _timed(stream: str, line: bytes) -> Line:
    stamp, _, text = line.decode(errors="replace").rstrip("\r").partition(" ")
    return Line(epoch_seconds(stamp), stream, text[:_LONGEST_LINE])


def _as_json(line: Line) -> str:
    doc: dict[str, Any] = {"t": round(line.at, 6), "s": line.stream, "m": line.text[:_LONGEST_LINE]}
    return json.dumps(doc, separators=(",", ":")) + "\n"


def _nobody_reads(conn: Connection) -> bool:
    """Whether the engine has closed, or answered before we were done: then it wants no more."""
    poll = select.poll()
    poll.register(conn.sock, select.POLLIN)
    if not poll.poll(0):
        return False
    try:
        # What is there may be the TLS layer's own business, which is no data.
        conn.sock.settimeout(0)
        conn.sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    return True
