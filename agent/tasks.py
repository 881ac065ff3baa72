"""The engine's questions, for logs and for commands in instances: each answered once, in a thread of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

from automator67.agent import exec_task, logs_task
from automator67.agent.begun import Begun
from automator67.agent.docker_http import DockerApi
from automator67.agent.exec_task import REFUSED, ExecTask, Program
from automator67.agent.keeper import Keeper
from automator67.agent.link import Link
from automator67.agent.logs_task import CannotTell, Line, LogsTask
from automator67.agent.model import Seen, Wanted
from automator67.agent.processes import Processes
from automator67.agent.programs import DockerProgram, ProcessProgram

_AT_ONCE = 16
_BUSY = f"this node answers {_AT_ONCE} questions already; ask again when one of them is over"


class Tasks:
    """For the main thread. ``post`` gets ("task done", id), to be handed to ``done``."""

    def __init__(
        self,
        link: Link,
        keeper: Keeper,
        docker: DockerApi,
        processes: Processes | None,
        post: Callable[[tuple[Any, ...]], None],
        say: Callable[[str], None],
    ) -> None:
        self._link, self._keeper, self._docker, self._processes = link, keeper, docker, processes
        self._post, self._say = post, say
        self._running: set[str] = set()
        self._begun = Begun()

    def take(self, doc: object) -> None:
        """Begin a task, unless it is not understood or was begun before."""
        task = logs_task.task_of(doc) or exec_task.task_of(doc)
        if task is None or task.id in self._begun:
            return
        self._begun.add(task.id)
        busy = len(self._running) >= _AT_ONCE
        self._running.add(task.id)
        if isinstance(task, LogsTask):
            source = logs_task.refuses(_BUSY) if busy else self._source(task)
            self._begin(task.id, lambda: logs_task.run(task, self._link, source))
        else:
            self._begin(task.id, self._command(task, busy))

    def done(self, task: str) -> None:
        """Take up that a task is over."""
        self._running.discard(task)

    def _begin(self, task: str, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                self._post(("task done", task))

        threading.Thread(target=run, daemon=True).start()

    def _find(self, instance: str) -> tuple[Wanted | None, Seen | None]:
        found = self._keeper.look()
        pair = next(((w, s) for w, s in found.pairs if w.id == instance), (None, None))
        return pair if pair[1] else (None, next((s for s in found.extra if s.instance == instance), None))

    def _source(self, task: LogsTask) -> Iterator[list[Line]]:
        _, seen = self._find(task.instance)
        if seen is None:
            return logs_task.refuses(self._none(task.instance))
        if seen.runtime == "process" and self._processes is not None:
            return logs_task.file_lines(self._processes.logs(task.instance), task)
        return logs_task.docker_lines(self._docker, seen, task)

    def _command(self, task: ExecTask, busy: bool) -> Callable[[], None]:
        """Return the work of a command; who asked for what is in this agent's log and goes to the engine as an event,
        also when it is refused."""
        allowed = self._keeper.policy.current.exec
        about = f"{json.dumps(task.argv, ensure_ascii=False)[:400]} for {task.by}"
        self._say(f"{task.instance}: exec {about}{'' if allowed else ': refused'}")
        self._keeper.event(task.instance, "exec", about if allowed else f"refused: {about}")
        w, seen = self._find(task.instance)
        start = (
            self._starter(task.instance, task.argv, w, seen)
            if allowed and not busy
            else _refuse(REFUSED if not allowed else _BUSY)
        )

        def work() -> None:
            code = exec_task.run(task, self._link, start)
            self._say(f"{task.instance}: exec for {task.by} {'was cut off' if code is None else f'ended with {code}'}")

        return work

    def program(self, instance: str, argv: tuple[str, ...]) -> Callable[[], Program]:
        """Return what starts a command of the app itself in one of its instances."""
        return self._starter(instance, argv, *self._find(instance))

    def _starter(
        self, instance: str, argv: tuple[str, ...], w: Wanted | None, seen: Seen | None
    ) -> Callable[[], Program]:
        if seen is None:
            return _refuse(self._none(instance))
        if seen.state != "running":
            return _refuse(f"{instance} does not run (it is {seen.state})")
        if seen.runtime == "docker":
            return lambda: DockerProgram(self._docker, seen.handle, argv)
        doc = self._processes.exec_document(w, argv) if self._processes is not None and w is not None else None
        return _refuse(f"{instance} is about to go") if doc is None else lambda: ProcessProgram(doc)

    def _none(self, instance: str) -> str:
        return f"there is no {instance} on node {self._keeper.membership.node}"


def _refuse(text: str) -> Callable[[], Program]:
    def start() -> Program:
        raise CannotTell(text)

    return start
