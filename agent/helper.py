"""The resident side of the worker: starts it when there is work, ends it when there is none, kills it when it hangs."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

# A worker without work is kept this long: a rollout brings the next job within seconds, and starting one takes some.
KEEP_WARM = 20.0


class Answer(NamedTuple):
    """What became of a job. ``tag`` is what it was submitted with; ``result`` is None when it failed."""

    tag: Any
    ok: bool
    result: Any
    error: str


class Progress(NamedTuple):
    """A job says how far it is."""

    tag: Any
    text: str


class _Job(NamedTuple):
    tag: Any
    deadline: float
    patience: float


class Helper:
    """Jobs for the worker. For the main thread only; what comes back goes through ``post`` from another thread.

    ``post`` gets ("worker", generation, message or None at its end); hand these to ``receive``.
    """

    def __init__(self, docker_socket: str, post: Callable[[tuple[Any, ...]], None]) -> None:
        self._socket, self._post = docker_socket, post
        self._jobs: dict[int, _Job] = {}
        self._number = 0
        self._generation = 0
        self.unreaped: set[int] = set()
        self._pid = 0
        self._lines: queue.SimpleQueue[bytes | None] | None = None
        self._idle_since = 0.0

    def warm_up(self) -> None:
        """Start the worker: work is about to come."""
        self._idle_since = time.monotonic()
        if self._lines is None:
            self._start()

    def submit(self, job: str, args: dict[str, Any], tag: Any, patience: float) -> None:
        """Give the worker a job; it is killed when it says nothing about the job for ``patience`` seconds."""
        self.warm_up()
        self._number += 1
        self._jobs[self._number] = _Job(tag, time.monotonic() + patience, patience)
        message = json.dumps({"id": self._number, "job": job, "args": args}).encode() + b"\n"
        if self._lines is not None:
            self._lines.put(message)

    def receive(self, generation: int, message: dict[str, Any] | None) -> list[Answer | Progress]:
        """Take what a worker posted and return what it means."""
        if generation != self._generation:
            return []
        if message is None:
            return self._ended("the worker ended unexpectedly")
        job = self._jobs.get(int(message.get("id", 0)))
        if job is None:
            return []
        if "progress" in message:
            self._jobs[message["id"]] = job._replace(deadline=time.monotonic() + job.patience)
            return [Progress(job.tag, str(message["progress"]))]
        del self._jobs[message["id"]]
        self._idle_since = time.monotonic()
        ok = bool(message.get("ok"))
        return [Answer(job.tag, ok, message.get("result"), str(message.get("error", "")))]

    def tick(self, now: float) -> list[Answer | Progress]:
        """End a worker that is late or idle; return what became of its jobs."""
        if self._lines is None:
            return self._ended("the worker cannot be started") if self._jobs else []
        late = [job for job in self._jobs.values() if now >= job.deadline]
        if late:
            patience = late[0].patience
            self._kill()
            return self._ended(f"no answer for {patience:g} s; the worker was killed")
        if not self._jobs and now - self._idle_since >= KEEP_WARM:
            self._lines.put(None)
            self._lines = None
            self._generation += 1
        return []

    def next_tick(self) -> float:
        """Return when ``tick`` has something to do (monotonic seconds)."""
        if self._lines is None:
            return 0.0 if self._jobs else float("inf")
        return min((j.deadline for j in self._jobs.values()), default=self._idle_since + KEEP_WARM)

    def _start(self) -> None:
        # Between the pipes and posix_spawn nothing of this process is inherited: descriptors close on exec.
        job_read, job_write = os.pipe2(os.O_CLOEXEC)
        answer_read, answer_write = os.pipe2(os.O_CLOEXEC)
        self._generation += 1
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                # -P: a file in the current directory is never taken for a library.
                [sys.executable, "-P", "-m", "automator67.agent.worker", self._socket],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, job_read, 0), (os.POSIX_SPAWN_DUP2, answer_write, 1)],
            )
        except OSError as e:
            for fd in (job_read, job_write, answer_read, answer_write):
                os.close(fd)
            sys.stderr.write(f"the worker cannot be started: {e.strerror}\n")
            return
        self.unreaped.add(self._pid)
        os.close(job_read)
        os.close(answer_write)
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lines = lines
        generation = self._generation
        # A writer of its own: a worker that does not read must not hold the main loop.
        threading.Thread(target=_write, args=(job_write, lines), daemon=True).start()
        threading.Thread(target=self._read, args=(answer_read, generation), daemon=True).start()

    def _read(self, fd: int, generation: int) -> None:
        with os.fdopen(fd, "rb") as answers:
            for line in answers:
                try:
                    self._post(("worker", generation, json.loads(line)))
                except ValueError:
                    break
        self._post(("worker", generation, None))

    def _kill(self) -> None:
        if self._pid in self.unreaped:
            os.kill(self._pid, signal.SIGKILL)

    def reap(self) -> None:
        """Take leave of workers that have ended."""
        for pid in list(self.unreaped):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.unreaped.discard(pid)

    def _ended(self, why: str) -> list[Answer | Progress]:
        if self._lines is not None:
            self._lines.put(None)
        self._lines = None
        self._generation += 1
        lost, self._jobs = self._jobs, {}
        return [Answer(job.tag, False, None, why) for job in lost.values()]


def _write(fd: int, lines: queue.SimpleQueue[bytes | None]) -> None:
    try:
        while (line := lines.get()) is not None:
            view = memoryview(line)
            while view:
                view = view[os.write(fd, view) :]
    except OSError:
        pass
    finally:
        os.close(fd)
