"""The engine's questions for logs: each answered once, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from automator67.agent import logs_task
from automator67.agent.docker_http import DockerApi
from automator67.agent.keeper import Keeper
from automator67.agent.link import Link
from automator67.agent.logs_task import Line, LogsTask
from automator67.agent.processes import Processes

_AT_ONCE = 16
_BUSY = f"this node shows {_AT_ONCE} logs already; ask again when somebody has stopped reading"
_REMEMBERED = 200


class LogTasks:
    """For the main thread. ``post`` gets ("task done", id), to be handed to ``done``."""

    def __init__(
        self,
        link: Link,
        keeper: Keeper,
        docker: DockerApi,
        processes: Processes | None,
        post: Callable[[tuple[Any, ...]], None],
    ) -> None:
        self._link, self._keeper, self._docker, self._processes, self._post = link, keeper, docker, processes, post
        self._running: set[str] = set()
        self._seen: list[str] = []

    def take(self, doc: object) -> None:
        """Begin a task, unless it is not understood or was begun before."""
        task = logs_task.task_of(doc)
        if task is None or task.id in self._seen:
            return
        self._seen = [*self._seen[-_REMEMBERED:], task.id]
        source = self._source(task) if len(self._running) < _AT_ONCE else logs_task.refuses(_BUSY)
        self._running.add(task.id)

        def work() -> None:
            try:
                logs_task.run(task, self._link, source)
            finally:
                self._post(("task done", task.id))

        threading.Thread(target=work, daemon=True).start()

    def done(self, task: str) -> None:
        """Take up that a task is over."""
        self._running.discard(task)

    def _source(self, task: LogsTask) -> Iterator[list[Line]]:
        found = self._keeper.look()
        seen = next((s for w, s in found.pairs if w.id == task.instance), None)
        seen = seen or next((s for s in found.extra if s.instance == task.instance), None)
        if seen is None:
            return logs_task.refuses(f"there is no {task.instance} on node {self._keeper.membership.node}")
        if seen.runtime == "process" and self._processes is not None:
            return logs_task.file_lines(self._processes.logs(task.instance), task)
        return logs_task.docker_lines(self._docker, seen, task)
