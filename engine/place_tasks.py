"""Answers questions to nodes that are places, since no agent is there to pick them up: streams of log lines."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from automator67.engine.nodes.tasks import Task, TaskBroker
from automator67.engine.places.protocol import Line, Lines, Place, PlaceError

LOOK_SECONDS = 0.5
"""How soon a reader that has gone away is noticed while nothing comes."""
BATCH_LINES = 256


def both(agents: Callable[[str], None], places: Callable[[str], None]) -> Callable[[str], None]:
    """Return what wakes a node whichever of the two it is."""

    def wake(node: str) -> None:
        agents(node)
        places(node)

    return wake


class PlaceTasks:
    """Takes the place of an agent towards the broker; used on the event loop only."""

    def __init__(self, broker: TaskBroker, place: Callable[[str], Place | None], redact: Callable[[Any], Any]) -> None:
        """``redact`` takes values of secrets out of a line."""
        self._broker = broker
        self._place = place
        self._redact = redact
        self._running: set[asyncio.Task[None]] = set()

    def wake(self, node: str) -> None:
        """Answer what waits for a node, if it is a place."""
        place = self._place(node)
        for message in self._broker.waiting(node) if place is not None else ():
            task = self._broker.start(node, str(message["id"]))
            running = asyncio.create_task(self._answer(place, task, message))
            self._running.add(running)
            running.add_done_callback(self._running.discard)

    async def _answer(self, place: Place | None, task: Task, message: Mapping[str, Any]) -> None:
        assert place is not None
        if message["kind"] != "logs":
            task.end(f"node {place.name} is a {place.kind}: {message['kind']} is only for nodes with an agent")
            return
        follow = bool(message["follow"])
        try:
            lines = await asyncio.to_thread(
                place.logs, str(message["instance"]),
                tail=int(message["tail"]), since=float(message["since"]), follow=follow,
            )  # fmt: skip
        except PlaceError as error:
            task.end(str(error))
            return
        loop = asyncio.get_running_loop()

        def put(batch: list[Line]) -> bool:
            told: list[Mapping[str, Any]] = [
                self._redact({"t": line.at, "s": line.stream, "m": line.text}) for line in batch
            ]
            return asyncio.run_coroutine_threadsafe(task.put(told), loop).result()

        ended = asyncio.Event()

        def pump() -> None:
            _pump(lines, put, 1 if follow else BATCH_LINES)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=pump, daemon=True).start()
        try:
            while not (ended.is_set() or task.closed):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), LOOK_SECONDS)
        finally:
            lines.close()
            task.end()


def _pump(lines: Lines, put: Callable[[list[Line]], bool], size: int) -> None:
    batch: list[Line] = []
    try:
        for line in lines:
            batch.append(line)
            if len(batch) >= size:
                if not put(batch):
                    return
                batch = []
        put(batch)
    except (RuntimeError, PlaceError):
        # The event loop or the place went away; what was read has been passed on.
        return
