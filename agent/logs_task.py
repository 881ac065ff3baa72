"""Streams the log of an instance to the engine, until it ends or nobody reads any more."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from automator67.agent import logfiles
from automator67.agent.docker_http import DockerApi, Frames
from automator67.agent.docker_read import epoch_seconds
from automator67.agent.http1 import Connection, HttpError, chunk
from automator67.agent.link import Link, LinkError
from automator67.agent.model import Seen

# Whoever reads may pause for as long: the engine then takes nothing, and what follows waits here.
_WRITE_TIMEOUT = 900.0
_LONGEST_LINE = 16 * 1024
_FILE_POLL = 0.25
_PIECE = 64 * 1024
ALL = -1


class LogsTask(NamedTuple):
    """What the engine wants to read: ``tail`` lines (``ALL``), none older than ``since`` (seconds since the epoch)."""

    id: str
    instance: str
    tail: int
    follow: bool
    since: float


class CannotTell(Exception):
    """There is no log to read; one line that says why."""


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
        tail if isinstance(tail, int) and tail >= ALL else 100,
        bool(doc.get("follow")),
        float(since) if isinstance(since, int | float) else 0.0,
    )


def run(task: LogsTask, link: Link, source: Iterator[list[Line]]) -> None:
    """Send what ``source`` yields to the engine. An empty list is a moment without news: a chance to look up.

    Raises nothing: a task that fails has failed with its reader.
    """
    conn = None
    try:
        conn = begin(link, task.id)
        deadline = time.monotonic() + _WRITE_TIMEOUT
        try:
            for lines in source:
                if _nobody_reads(conn):
                    return
                deadline = time.monotonic() + _WRITE_TIMEOUT
                if lines:
                    conn.write(chunk("".join(_as_json(line) for line in lines).encode(errors="replace")), deadline)
        except CannotTell as e:
            conn.write(chunk(json.dumps({"error": str(e)}).encode() + b"\n"), deadline)
        conn.write(chunk(b""), deadline)
        conn.head(time.monotonic() + _WRITE_TIMEOUT)
    except (LinkError, OSError):
        return
    finally:
        if conn is not None:
            conn.close()
        close = getattr(source, "close", None)
        if close is not None:
            close()


def begin(link: Link, task: str) -> Connection:
    """Begin to answer a task: a request whose body is still to come. Raises LinkError, OSError."""
    conn = link.connect()
    try:
        # A reader that pauses is no peer that has vanished.
        conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
        headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/x-ndjson", "Connection": "close"}
        conn.send("POST", f"/v1/tasks/{task}", b"", time.monotonic() + 20.0, headers)
    except BaseException:
        conn.close()
        raise
    return conn


def refuses(text: str) -> Iterator[list[Line]]:
    """Be a log that cannot be read, and say why."""
    raise CannotTell(text)
    yield []


def docker_lines(docker: DockerApi, seen: Seen, task: LogsTask) -> Iterator[list[Line]]:
    """Yield the lines of a container's log as they come."""
    target = (
        f"/containers/{seen.handle}/logs?stdout=1&stderr=1&timestamps=1&tail={'all' if task.tail < 0 else task.tail}"
        f"&follow={int(task.follow)}&since={task.since:.9f}"
    )
    conn = docker.connect(5.0)
    try:
        status, reader, data = conn.stream("GET", target, 10.0)
        if status != 200:
            raise CannotTell(f"the Docker Engine answers {status} when asked for the log")
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
    """Takes lines out of a container's multiplexed log stream, however it is cut. Pure."""

    def __init__(self) -> None:
        self._frames = Frames()
        self._partial: dict[str, bytes] = {"out": b"", "err": b""}

    def feed(self, data: bytes) -> list[Line]:
        """Take bytes and return the lines that are complete."""
        return [line for stream, piece in self._frames.feed(data) for line in self._split(stream, piece)]

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
        for name, start, end in logfiles.pieces(path, task.tail, task.since):
            yield from _past(name, stream, start, end)
            if name == path:
                offsets[path] = end
    partial = dict.fromkeys(paths, b"")
    while task.follow and any(os.path.exists(path) for path in paths):
        found: list[Line] = []
        for stream, path in zip(("out", "err"), paths, strict=True):
            data, offsets[path] = _news(path, offsets.get(path, 0))
            *lines, partial[path] = (partial[path] + data).split(b"\n")
            partial[path] = partial[path][:_LONGEST_LINE]
            now = time.time()
            found += [Line(now, stream, line.decode(errors="replace")) for line in lines]
        yield found
        if not found:
            time.sleep(_FILE_POLL)


def _past(path: str, stream: str, start: int, end: int) -> Iterator[list[Line]]:
    """Yield the lines of a part of a file, in pieces; when it is rotated meanwhile, the rest is in its copy."""
    rest = b""
    for name in (path, f"{path}.1"):
        with contextlib.suppress(FileNotFoundError), open(name, "rb") as file:
            at = os.fstat(file.fileno()).st_mtime
            file.seek(start)
            while start < end and (data := file.read(min(_PIECE, end - start))):
                start += len(data)
                *lines, rest = (rest + data).split(b"\n")
                rest = rest[:_LONGEST_LINE]
                yield [Line(at, stream, line.decode(errors="replace")) for line in lines]
        if start >= end:
            break
    if rest:
        yield [Line(at, stream, rest.decode(errors="replace"))]


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
    return json.dumps(doc, separators=(",", ":"), ensure_ascii=False) + "\n"


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
