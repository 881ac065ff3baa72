"""Starts a program through ``launch.py``: prepared in a fresh process, with its environment handed over a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import Any

from automator67.agent.process_files import ProcessError, RunPlan

_TIMEOUT = 15.0


def launch_document(
    argv: tuple[str, ...], plan: RunPlan, joins: tuple[str, ...] = (), data_limit: int = 0, environ_of: int = 0
) -> dict[str, Any]:
    """Return what ``launch.py`` is told: what to run, as whom, where, and within which limits. Pure.

    ``environ_of``: a process whose environment it gets too, below its own.
    """
    return {
        "argv": list(argv), "env": plan.env, "cwd": plan.cwd, "in": "/dev/null", "out": plan.out, "err": plan.err,
        "user": plan.user, "cgroups": list(joins), "data_limit": data_limit, "environ_of": environ_of,
    }  # fmt: skip


def launch(doc: dict[str, Any], sealed: dict[str, Any] | None = None) -> int:
    """Start a program and return its process id once it executes; it is a child of this process.

    With ``sealed`` (``request`` and ``directory``, see opener.py) what it is told goes through the opener, which adds
    the secrets. Raises ProcessError when it cannot be executed, OSError.
    """
    script = f"{os.path.dirname(os.path.abspath(__file__))}/launch.py"
    # The stamp from the first instant on: an agent that is killed now leaves something that the next one finds.
    stamp = {key: value for key, value in doc["env"].items() if key.startswith("A67_")}
    job_read, job_write = os.pipe2(os.O_CLOEXEC)
    said_read, said_write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", script],
            {"PATH": os.defpath} | stamp,
            file_actions=[(os.POSIX_SPAWN_DUP2, job_read, 0), (os.POSIX_SPAWN_DUP2, said_write, 1)],
        )
    except OSError:
        os.close(job_write)
        os.close(said_read)
        raise
    finally:
        os.close(job_read)
        os.close(said_write)
    opener = 0
    if sealed is not None:
        doc = sealed | {"launch": doc}
        opener, job_write = _through_opener(job_write)
    with contextlib.suppress(BrokenPipeError), os.fdopen(job_write, "wb") as pipe:
        pipe.write(json.dumps(doc).encode())
    said = _read_until_end(said_read)
    if opener:
        os.waitpid(opener, 0)
    if said:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise ProcessError(said)
    return pid


def _through_opener(out: int) -> tuple[int, int]:
    """Start the opener before a pipe, which it takes over; return its process id and the pipe to it."""
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "automator67.agent.opener"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_DUP2, out, 1)],
        )
    except OSError:
        os.close(write)
        raise
    finally:
        os.close(read)
        os.close(out)
    return pid, write


def _read_until_end(fd: int) -> str:
    """Return what is written to a pipe until all its writers are gone."""
    deadline = time.monotonic() + _TIMEOUT
    data = b""
    with os.fdopen(fd, "rb", buffering=0) as pipe:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            piece = pipe.read(4096)
            if not piece:
                return data.decode(errors="replace")
            data += piece
    return f"the command cannot be started: nothing happened for {_TIMEOUT:g} s"
