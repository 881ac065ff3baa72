"""Runs a command in an instance for a person, who sits at the other end of the engine: input down, output up.

One request carries both: what the command writes is its body, what the person writes is the body of the answer, which
begins at once. When the request breaks, the command is killed.
"""

from __future__ import annotations

import json
import select
import ssl
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from automator67.agent.http1 import BodyReader, Connection, HttpError, chunk
from automator67.agent.link import Link, LinkError
from automator67.agent.logs_task import CannotTell, begin

REFUSED = "refused by this node's policy: exec is not allowed (policy.toml: exec = true)"
_TIMEOUT = 20.0
_WRITE_TIMEOUT = 900.0
_PIECE = 32 * 1024
_LONGEST_ARGUMENTS = 64 * 1024


class ExecTask(NamedTuple):
    """What is to be run where, and who asked for it (as the engine says)."""

    id: str
    instance: str
    argv: tuple[str, ...]
    by: str


class Program(Protocol):
    """A running command."""

    def outputs(self) -> list[int]:
        """Return the descriptors that are still to be read."""

    def read(self, fd: int) -> list[tuple[str, bytes]]:
        """Return what it wrote, as (``out`` or ``err``, bytes), after its descriptor has become readable."""

    def input(self) -> int:
        """Return the descriptor of its input, -1 when that is closed; writing to it never waits."""

    def feed(self, data: bytes) -> int:
        """Write to its input; return how many bytes it took."""

    def close_input(self) -> None:
        """Say that there is no more input."""

    def kill(self) -> None:
        """End it at once."""

    def exit_code(self) -> int:
        """Return its exit code, once its outputs are at their end."""


def task_of(doc: object) -> ExecTask | None:
    """Return a task of a ``GET /v1/desired`` answer; None for one that is not understood."""
    if not isinstance(doc, dict) or doc.get("kind") != "exec":
        return None
    name, instance, argv, by = (doc.get(key) for key in ("id", "instance", "argv", "by"))
    if not isinstance(name, str) or not name or not name.isalnum() or not isinstance(instance, str):
        return None
    if not isinstance(argv, list) or not argv or not all(isinstance(a, str) and "\0" not in a for a in argv):
        return None
    if not argv[0] or sum(map(len, argv)) > _LONGEST_ARGUMENTS:
        return None
    return ExecTask(name, instance, tuple(argv), " ".join(str(by).split())[:100])


def run(task: ExecTask, link: Link, start: Callable[[], Program]) -> int | None:
    """Run a task to its end; return the exit code, None when it did not come to that.

    ``start`` raises CannotTell when the command cannot be run.
    """
    conn = None
    try:
        conn = begin(link, task.id)
        status, reader, data = conn.answer(_TIMEOUT)
        if status != 200:
            return None
        try:
            program = start()
        except CannotTell as e:
            _say(conn, {"error": str(e)})
            _end(conn)
            return None
        try:
            _relay(conn, reader, data, program)
        except BaseException:
            program.kill()
            program.exit_code()
            raise
        code = program.exit_code()
        _say(conn, {"exit": code})
        _end(conn)
        return code
    except (LinkError, OSError):
        return None
    finally:
        if conn is not None:
            conn.close()


def _relay(conn: Connection, reader: BodyReader, pending: bytes, program: Program) -> None:
    """Carry bytes both ways until the command's outputs end. Raises OSError when the other side is gone."""
    while outputs := program.outputs():
        if reader.done and not pending:
            program.close_input()
        poll = select.poll()
        for fd in outputs:
            poll.register(fd, select.POLLIN)
        room = len(pending) < _PIECE
        if room:
            poll.register(conn.sock, select.POLLIN)
        if pending and program.input() >= 0:
            poll.register(program.input(), select.POLLOUT)
        waiting = room and isinstance(conn.sock, ssl.SSLSocket) and conn.sock.pending() > 0
        ready = dict(poll.poll(0 if waiting else 1000))
        for fd in outputs:
            if fd in ready:
                for stream, data in program.read(fd):
                    _say(conn, {"s": stream, "d": data})
        if room and (waiting or conn.sock.fileno() in ready):
            pending += _receive(conn, reader)
        if pending and program.input() < 0:
            pending = b""
        elif pending and program.input() in ready:
            pending = pending[program.feed(pending) :]


def _receive(conn: Connection, reader: BodyReader) -> bytes:
    conn.sock.settimeout(0)
    try:
        data = conn.sock.recv(_PIECE)
    except (BlockingIOError, ssl.SSLWantReadError):
        return b""
    if not data:
        raise HttpError("the other side is gone")
    return reader.feed(data)


def _say(conn: Connection, doc: dict[str, Any]) -> None:
    if isinstance(doc.get("d"), bytes):
        import binascii

        doc = doc | {"d": binascii.b2a_base64(doc["d"], newline=False).decode()}
    conn.write(chunk(json.dumps(doc, separators=(",", ":")).encode() + b"\n"), time.monotonic() + _WRITE_TIMEOUT)


def _end(conn: Connection) -> None:
    """End the answer, and wait until the engine has taken it and closes: whoever closes first may cut off the rest."""
    conn.write(chunk(b""), time.monotonic() + _TIMEOUT)
    conn.sock.settimeout(_TIMEOUT)
    while conn.sock.recv(_PIECE):
        pass
