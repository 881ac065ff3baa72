"""Questions to agents that take a while to answer: streams of log lines, commands that run in an instance.

A task waits until the node's held request picks it up; the agent then posts the answer, which passes through here
without being kept. A reader that is slow makes the agent wait; a reader that is gone ends the agent's request.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

START_SECONDS = 10.0
MOST_BATCHES = 4
"""How many pieces of an answer (of at most 128 KiB) wait for their reader."""

Message = Mapping[str, Any]


class TaskError(Exception):
    """The question was not answered, or not to its end; one line that says why."""


class Task:
    """One question and the stream of its answer. ``batches`` is for whoever asks, the rest for the endpoint."""

    def __init__(self, node: str, message: Message) -> None:
        self.node, self.message = node, message
        self.picked_up = False
        self.started = asyncio.Event()
        self.closed = False
        self._batches: deque[list[Message]] = deque()
        self._changed = asyncio.Event()
        self._ended = False
        self._error = ""
        self._upward: deque[bytes | None] = deque()

    async def batches(self) -> AsyncIterator[list[Message]]:
        """Yield the answer in pieces as it comes. Raises TaskError when it breaks off, or says that it failed."""
        while True:
            while self._batches:
                batch = self._batches.popleft()
                self._changed.set()
                yield batch
            if self._ended:
                if self._error:
                    raise TaskError(self._error)
                return
            await self._wait()

    async def put(self, batch: list[Message]) -> bool:
        """Pass a piece on as soon as there is room; return False when nobody reads any more."""
        while len(self._batches) >= MOST_BATCHES and not self.closed:
            await self._wait()
        if not self.closed and batch:
            self._batches.append(batch)
            self._changed.set()
        return not self.closed

    def end(self, error: str = "") -> None:
        """Say that the answer is over, and what broke it off."""
        if not self._ended:
            self._ended, self._error = True, error
        self._changed.set()

    def send(self, data: bytes | None) -> None:
        """Send bytes up to the agent (None: no more of them)."""
        self._upward.append(data)
        self._changed.set()

    async def upward(self) -> AsyncIterator[bytes]:
        """Yield what is sent up to the agent, until there is no more or nobody listens."""
        while not self.closed and not self._ended:
            while self._upward:
                data = self._upward.popleft()
                self._changed.set()
                if data is None:
                    return
                yield data
            await self._wait()

    async def room_above(self) -> None:
        """Wait until the agent has taken nearly all that was sent up."""
        while len(self._upward) >= MOST_BATCHES and not self._ended and not self.closed:
            await self._wait()

    def close(self) -> None:
        """Say that nobody reads any more."""
        self.closed = True
        self._batches.clear()
        self._changed.set()

    async def until_closed(self) -> None:
        """Wait until nobody reads any more."""
        while not self.closed:
            await self._wait()

    async def _wait(self) -> None:
        # Whoever waits looks again after every change; a change wakes all who wait.
        changed = self._changed
        if changed.is_set():
            self._changed = changed = asyncio.Event()
        await changed.wait()


class TaskBroker:
    """Brings questions to nodes and answers back; ``wake`` tells the endpoint that a node has one waiting."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self.wake: Callable[[str], None] = lambda _: None

    def waiting(self, node: str) -> list[Message]:
        """Return the tasks that the node has not picked up yet, and count them as picked up."""
        found = [t for t in self._tasks.values() if t.node == node and not t.picked_up]
        for task in found:
            task.picked_up = True
        return [task.message for task in found]

    @asynccontextmanager
    async def ask(self, node: str, kind: str, **fields: Any) -> AsyncIterator[Task]:
        """Put a question to a node; the value is its answer, which has begun. Raises TaskError when it does not."""
        task_id = secrets.token_hex(8)
        task = self._tasks[task_id] = Task(node, {"id": task_id, "kind": kind, **fields})
        self.wake(node)
        try:
            try:
                await asyncio.wait_for(task.started.wait(), START_SECONDS)
            except TimeoutError:
                raise TaskError(f"node {node} does not answer") from None
            yield task
        finally:
            task.close()
            self._tasks.pop(task_id, None)

    def start(self, node: str, task_id: str) -> Task:
        """Return the task that a node wants to answer. Raises TaskError when it is not the node's, or is over."""
        task = self._tasks.get(task_id)
        if task is None or task.node != node:
            raise TaskError("there is no such task for this node")
        task.started.set()
        return task
