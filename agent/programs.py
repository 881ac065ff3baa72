"""Commands that run in an instance for a person: beside a process as itself, or in a container."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from typing import Any

from automator67.agent.docker_http import DockerApi, Frames
from automator67.agent.http1 import Connection, HttpError
from automator67.agent.launching import launch
from automator67.agent.logs_task import CannotTell
from automator67.agent.process_files import ProcessError

_PIECE = 32 * 1024
_TIMEOUT = 10.0


class ProcessProgram:
    """A command as the process of an instance runs: its user, directory, environment and limits."""

    def __init__(self, doc: dict[str, Any]) -> None:
        """Start it; ``doc`` is a launching.launch_document. Raises CannotTell."""
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        (in_read, self._in), (out, out_write), (err, err_write) = pipes
        mine = f"/proc/{os.getpid()}/fd"
        doc = doc | {"in": f"{mine}/{in_read}", "out": f"{mine}/{out_write}", "err": f"{mine}/{err_write}"}
        self._streams = {out: "out", err: "err"}
        try:
            self._pid = launch(doc)
        except (ProcessError, OSError) as e:
            for fd in (self._in, out, err):
                os.close(fd)
            raise CannotTell(str(e)) from None
        finally:
            for fd in (in_read, out_write, err_write):
                os.close(fd)
        os.set_blocking(self._in, False)

    def outputs(self) -> list[int]:
        """Return what is still to be read."""
        return list(self._streams)

    def read(self, fd: int) -> list[tuple[str, bytes]]:
        """Return what it wrote."""
        data = os.read(fd, _PIECE)
        if data:
            return [(self._streams[fd], data)]
        del self._streams[fd]
        os.close(fd)
        return []

    def input(self) -> int:
        """Return the descriptor of its input, -1 when that is closed."""
        return self._in

    def feed(self, data: bytes) -> int:
        """Write to its input."""
        try:
            return os.write(self._in, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            self.close_input()
            return len(data)

    def close_input(self) -> None:
        """Say that there is no more input."""
        if self._in >= 0:
            os.close(self._in)
            self._in = -1

    def kill(self) -> None:
        """End it and what it started in its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)

    def exit_code(self) -> int:
        """Wait for its end, and return its exit code: 128 and the signal's number for one that was killed."""
        self.close_input()
        for fd in list(self._streams):
            os.close(fd)
        self._streams = {}
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return code if code >= 0 else 128 - code


class DockerProgram:
    """A command in a container, through the Docker Engine's exec."""

    def __init__(self, docker: DockerApi, container: str, argv: tuple[str, ...]) -> None:
        """Start it. Raises CannotTell."""
        self._docker, self._frames, self._open, self._writable = docker, Frames(), True, True
        body = {"Cmd": argv, "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": False}
        try:
            made = docker.call("POST", f"/containers/{container}/exec", _TIMEOUT, json.dumps(body).encode())
            if made.status != 201:
                raise CannotTell(f"the Docker Engine answers {made.status}: {_message(made.body)}")
            self._id = str(made.json()["Id"])
            self._conn = docker.connect(_TIMEOUT)
            self._first = _attach(self._conn, self._id)
        except (OSError, KeyError) as e:
            raise CannotTell(f"the Docker Engine cannot run it: {e}") from None
        self._conn.sock.setblocking(False)

    def outputs(self) -> list[int]:
        """Return what is still to be read."""
        return [self._conn.sock.fileno()] if self._open else []

    def read(self, fd: int) -> list[tuple[str, bytes]]:  # noqa: ARG002
        """Return what it wrote."""
        try:
            data = self._conn.sock.recv(_PIECE)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        self._open = bool(data)
        first, self._first = self._first, b""
        return self._frames.feed(first + data)

    def input(self) -> int:
        """Return the descriptor of its input, -1 when that is closed."""
        return self._conn.sock.fileno() if self._writable and self._open else -1

    def feed(self, data: bytes) -> int:
        """Write to its input."""
        try:
            return self._conn.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._writable = False
            return len(data)

    def close_input(self) -> None:
        """Say that there is no more input."""
        if self._writable:
            self._writable = False
            with contextlib.suppress(OSError):
                self._conn.sock.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it, where this user may: the Docker Engine has no call for it."""
        with contextlib.suppress(OSError):
            doc = self._docker.get(f"/exec/{self._id}/json", 2.0) or {}
            if doc.get("Running") and int(doc.get("Pid") or 0) > 1:
                os.kill(int(doc["Pid"]), signal.SIGKILL)

    def exit_code(self) -> int:
        """Return its exit code, 255 when the Docker Engine does not say."""
        self._conn.close()
        self._open = False
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                doc = self._docker.get(f"/exec/{self._id}/json", 2.0) or {}
                if not doc.get("Running"):
                    return int(doc["ExitCode"]) if isinstance(doc.get("ExitCode"), int) else 255
            time.sleep(0.05)
        return 255


def _attach(conn: Connection, exec_id: str) -> bytes:
    """Turn a connection into the streams of a command; return what came with the answer. Raises OSError."""
    deadline = time.monotonic() + _TIMEOUT
    headers = {"Connection": "Upgrade", "Upgrade": "tcp", "Content-Type": "application/json"}
    conn.send("POST", f"/exec/{exec_id}/start", b'{"Detach":false,"Tty":false}', deadline, headers)
    status, _ = conn.head(deadline)
    if status != 101:
        raise HttpError(f"it answers {status}")
    return conn.rest()


def _message(body: bytes) -> str:
    with contextlib.suppress(ValueError, AttributeError):
        return " ".join(str(json.loads(body).get("message", "")).split())[:200]
    return "no reason given"
