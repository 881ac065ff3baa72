"""Runs child processes of our own and starts again those that end, until asked to stop."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

log = logging.getLogger("automator67.supervise")

STOP_SECONDS = 10.0
BACKOFF_SECONDS = (0.5, 15.0)
STEADY_SECONDS = 30.0
"""A child that ran this long has recovered: its next restart is quick again."""
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class _Child:
    name: str
    argv: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    next_at: float = 0.0


class Supervisor:
    """Keeps named children running. They die with it, also when it is killed."""

    def __init__(self, children: Sequence[tuple[str, Sequence[str]]], output: Path | None = None) -> None:
        """``output``: a file to which the children's output is appended; by default it goes where ours goes."""
        self._children = [_Child(name, argv) for name, argv in children]
        self._output = output

    def tick(self) -> None:
        """Start what should run and does not; call it a few times a second."""
        now = time.monotonic()
        for child in self._children:
            if child.process is not None:
                code = child.process.poll()
                if code is None:
                    continue
                child.failures = 0 if now - child.started > STEADY_SECONDS else child.failures + 1
                low, high = BACKOFF_SECONDS
                delay = min(high, low * 2 ** max(0, child.failures - 1))
                log.warning("%s ended with code %s; starting it again in %.1f s", child.name, code, delay)
                child.process, child.next_at = None, now + delay
            if now >= child.next_at:
                child.process = _spawn(child.argv, self._output)
                child.started = now

    def alive(self) -> list[str]:
        """Return the names of the children that run."""
        return [c.name for c in self._children if c.process is not None and c.process.poll() is None]

    def stop(self) -> None:
        """End all children, the last started first; kill those that take longer than ``STOP_SECONDS``."""
        for child in reversed(self._children):
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in reversed(self._children):
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop; killing it", child.name)
                child.process.kill()
                child.process.wait()
            child.process = None


def own_command(*arguments: str) -> list[str]:
    """Return the argument list that runs this program's command line in a child."""
    return [sys.executable, "-m", "automator67.engine.cli", *arguments]


def _spawn(argv: Sequence[str], output: Path | None) -> subprocess.Popen[bytes]:
    with output.open("ab") if output else nullcontext() as file:
        return subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True, preexec_fn=partial(_die_with_parent, os.getpid()),
        )  # fmt: skip


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # Not whether the parent is process 1: in a container the supervisor itself may be that.
    if os.getppid() != parent:
        os._exit(0)
