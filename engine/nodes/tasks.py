"""Questions to agents that take a while to answer: streams of log lines.

A task waits until the node's held request picks it up; the agent then posts the lines, which pass through here without
being kept. A reader that is slow makes the agent wait; a reader that is gone ends the agent's request.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

START_SECONDS = 15.0
QUEUE_LINES = 256


class TaskError(Exception):
    """The question was not answered; one line that says why."""


@dataclass(slots=True)
class _Task:
    node: str
    message: Mapping[str, Any]
    lines: asyncio.Queue[Mapping[str, Any] | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_LINES))
    picked_up: bool = False
    started: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False


class TaskBroker:
    """Brings questions to nodes and answers back; ``wake`` tells the endpoint that a node has one waiting."""

    def __init__(self) -> None:
        self._tasks: dict[str, _Task] = {}
        self.wake: Callable[[str], None] = lambda _: None

    def waiting(self, node: str) -> list[Mapping[str, Any]]:
        """Return the tasks that the node has not picked up yet, and count them as picked up."""
        found = [t for t in self._tasks.values() if t.node == node and not t.picked_up]
        for task in found:
            task.picked_up = True
        return [task.message for task in found]

    async def logs(
        self, node: str, instance: str, *, tail: int, follow: bool, since: float
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield log lines of an instance. Raises TaskError when the node does not answer in time."""
        task_id = secrets.token_hex(8)
        message = {"id": task_id, "kind": "logs", "instance": instance, "tail": tail, "follow": follow, "since": since}
        task = self._tasks[task_id] = _Task(node, message)
        self.wake(node)
        try:
            try:
                await asyncio.wait_for(task.started.wait(), START_SECONDS)
            except TimeoutError:
                raise TaskError(f"node {node} does not answer") from None
            while (line := await task.lines.get()) is not None:
                yield line
        finally:
            task.closed = True
            self._tasks.pop(task_id, None)
            # Whoever waits to put a line wakes up and finds the task closed.
            while not task.lines.empty():
                task.lines.get_nowait()

    def start(self, node: str, task_id: str) -> _Task:
        """Return the task that a node wants to answer. Raises TaskError when it is not the node's, or is over."""
        task = self._tasks.get(task_id)
        if task is None or task.node != node:
            raise TaskError("there is no such task for this node")
        task.started.set()
        return task

    @staticmethod
    async def line(task: _Task, line: Mapping[str, Any] | None) -> bool:
        """Pass a line on (None: the end); return False when nobody reads any more."""
        while not task.closed:
            try:
                await asyncio.wait_for(task.lines.put(line), 1.0)
            except TimeoutError:
                continue
            return not task.closed
        return False
