"""One thing done with a volume for the engine, from its begin to its end, in a thread of its own.

The thread asks the main one for what only that may do: have the worker work, keep copies away from the volume, find the
running copy. When the connection to the engine breaks it ends, and lets go of everything; the engine asks again.
"""

from __future__ import annotations

import json
import queue
import select
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from automator67.agent.exec_task import Program
from automator67.agent.http1 import chunk
from automator67.agent.link import Link, LinkError
from automator67.agent.logs_task import CannotTell, begin

_TIMEOUT = 30.0
_ALIVE = 3.0
_COMMAND_SECONDS = 3600.0
_HOLD_SECONDS = 600.0
_TAIL = 400
DOINGS = ("backup", "test", "restore", "failover", "aside")


class VolumeTask(NamedTuple):
    """What is to be done (``do``) with which volume. ``run`` is the same when it is asked for again."""

    id: str
    run: str
    do: str
    app: str
    slot: int
    volume: str
    runtime: str
    box: str
    snapshot: str
    keep: int
    files: int
    bytes: int
    stop: bool
    pre: tuple[str, ...]
    post: tuple[str, ...]


class Reply(NamedTuple):
    """What the main thread answers: ``progress`` and a text, ``done`` and a value, ``failed`` and a text."""

    kind: str
    value: Any


class Trouble(Exception):
    """It cannot be done; one line."""


Wish = Callable[[str, Any], None]
"""Hands a wish (its kind, and what it is about) to the main thread, which answers on the run's queue."""


def task_of(doc: object) -> VolumeTask | None:
    """Return a task of a ``GET /v1/desired`` answer; None for one that is not understood."""
    if not isinstance(doc, dict) or doc.get("kind") != "volume" or doc.get("do") not in DOINGS:
        return None
    texts = {key: doc.get(key) for key in ("id", "run", "do", "app", "volume", "runtime", "box", "snapshot")}
    numbers = {key: doc.get(key) for key in ("slot", "keep", "files", "bytes")}
    commands = {key: doc.get(key) or [] for key in ("pre", "post")}
    good = all(isinstance(t, str) for t in texts.values()) and all(isinstance(n, int) for n in numbers.values())
    good = good and all(isinstance(c, list) and all(isinstance(a, str) for a in c) for c in commands.values())
    if not good or not texts["id"].isalnum() or not texts["run"].isalnum():  # type: ignore[union-attr]
        return None
    if texts["runtime"] not in ("docker", "process") or not _is_name(texts["app"]) or not _is_name(texts["volume"]):
        return None
    fields: dict[str, Any] = {**texts, **numbers, "stop": bool(doc.get("stop"))}
    return VolumeTask(**fields, pre=tuple(commands["pre"]), post=tuple(commands["post"]))


class VolumeRun:
    """For a thread: ``run`` does all of it. ``replies`` is where the main thread answers."""

    def __init__(self, task: VolumeTask, link: Link, wish: Wish) -> None:
        self.task, self._link, self._wish = task, link, wish
        self.replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._conn: Any = None
        self._last = "beginning"

    def run(self) -> None:
        """Do what is asked, and tell the engine how it went. Raises nothing."""
        try:
            self._conn = begin(self._link, self.task.id)
            self._say({"t": time.time(), "m": self._last})
            try:
                end = {"end": "done", **self._work()}
            except (Trouble, CannotTell) as e:
                end = {"end": "failed", "m": str(e)}
            finally:
                self._wish("release", None)
            self._say(end)
            self._conn.write(chunk(b""), time.monotonic() + _TIMEOUT)
            self._conn.head(time.monotonic() + _TIMEOUT)
        except (LinkError, OSError):
            return
        finally:
            if self._conn is not None:
                self._conn.close()

    def _work(self) -> dict[str, Any]:
        task = self.task
        if task.do == "backup":
            return self._backup()
        if task.do == "test":
            try:
                return self._job("volume restore")
            finally:
                self._job("volume drop")
        if task.do == "aside":
            self._hold("it is taken aside")
            return self._job("volume aside")
        found = self._job("volume restore")
        self._hold("it is restored")
        return found | self._job("volume switch")

    def _backup(self) -> dict[str, Any]:
        task = self.task
        if task.stop:
            self._hold("it is backed up")
        trouble = ""
        try:
            if task.pre:
                self._command(task.pre, "pre")
            found = self._job("volume backup")
        finally:
            if task.post:
                try:
                    self._command(task.post, "post")
                except (Trouble, CannotTell) as e:
                    trouble = str(e)
        if trouble:
            found["message"] = f"{trouble}; {found['message']}".rstrip("; ")
        return found

    def _job(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("job", job)
        return found

    def _hold(self, why: str) -> None:
        self._ask("hold", why, _HOLD_SECONDS)

    def _command(self, argv: tuple[str, ...], what: str) -> None:
        start: Callable[[], Program] = self._ask("program", argv)
        try:
            code, said = self._ended(start())
        except CannotTell as e:
            raise Trouble(f"{what}: {e}") from None
        if code != 0:
            raise Trouble(f"{what}: {argv[0]} ended with {code}: {said}")

    def _ended(self, program: Program) -> tuple[int, str]:
        """Wait for a command's end; return its exit code and the last it wrote."""
        tail = bytearray()
        program.close_input()
        until = time.monotonic() + _COMMAND_SECONDS
        try:
            while outputs := program.outputs():
                poll = select.poll()
                for fd in outputs:
                    poll.register(fd, select.POLLIN)
                for fd, _ in poll.poll(_ALIVE * 1000):
                    tail += b"".join(data for _, data in program.read(fd))
                del tail[:-_TAIL]
                self._say({"t": time.time(), "m": "a command runs in the app's copy"})
                if time.monotonic() > until:
                    raise Trouble(f"a command ran for {_COMMAND_SECONDS / 60:.0f} minutes and was ended")
        except BaseException:
            program.kill()
            program.exit_code()
            raise
        return program.exit_code(), " ".join(bytes(tail).decode(errors="replace").split())

    def _ask(self, kind: str, what: Any, patience: float = float("inf")) -> Any:
        """Have the main thread do something, and wait for it. Raises Trouble; OSError when the engine is gone."""
        self._wish(kind, what)
        until = time.monotonic() + patience
        while True:
            try:
                reply = self.replies.get(timeout=_ALIVE)
            except queue.Empty:
                if time.monotonic() > until:
                    raise Trouble(f"the app's copy did not stop within {patience / 60:.0f} minutes") from None
                self._say({"t": time.time(), "m": self._last})
                continue
            if reply.kind == "done":
                return reply.value
            if reply.kind == "failed":
                raise Trouble(str(reply.value))
            self._last = str(reply.value)
            self._say({"t": time.time(), "m": self._last})

    def _say(self, doc: dict[str, Any]) -> None:
        data = json.dumps(doc, separators=(",", ":")).encode() + b"\n"
        self._conn.write(chunk(data), time.monotonic() + _TIMEOUT)


def _is_name(text: Any) -> bool:
    return (
        isinstance(text, str) and bool(text) and len(text) <= 64 and text.replace("-", "").isalnum() and text.isascii()
    )
