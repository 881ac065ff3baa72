"""Log lines of an app, merged over its instances as they come; nothing is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from automator67.engine.control import ControlError
from automator67.engine.copies import LOST_STATES
from automator67.engine.log_merge import LogMerge
from automator67.engine.nodes.tasks import TaskBroker, TaskError
from automator67.engine.observed import NodeView
from automator67.schemas.near import near_hint

Message = Mapping[str, Any]
Views = Mapping[str, NodeView]

LOOK_SECONDS = 1.0
"""How often new replicas are looked for while following."""
AGAIN_SECONDS = 3.0
"""How soon a replica whose log has ended or broken off is asked again while following."""
ALL = -1


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What is to be read: ``tail`` lines of each replica (``ALL``), none older than ``since`` (s since the epoch)."""

    app: str
    node: str = ""
    instance: str = ""
    tail: int = 100
    since: float = 0.0
    follow: bool = False


def log_query(app: str, query: Mapping[str, str]) -> LogQuery:
    """Return a request's query. Raises ControlError."""
    try:
        tail, since = int(query.get("tail", "100")), float(query.get("since", "0"))
    except ValueError as error:
        raise ControlError(f"tail and since are numbers: {error}") from error
    return LogQuery(app, query.get("node", ""), query.get("instance", ""), max(ALL, tail), since, "follow" in query)


async def app_logs(
    broker: TaskBroker, look: Callable[[], Views], query: LogQuery, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[list[Message]]:
    """Yield the lines of the app's instances in pieces, and ``{"warning": ...}`` for each that cannot be read.

    Raises ControlError when there is none, or when none can be read.
    """
    reading = _Reading(broker, look, query, clock)
    try:
        async for batch in reading.run():
            yield batch
    finally:
        await reading.stop()


@dataclass(slots=True)
class _Reader:
    task: asyncio.Task[None]
    last: float
    failed: bool = False
    ended: float | None = None


@dataclass(slots=True)
class _Reading:
    """One merge of the logs of an app, and those who read for it."""

    broker: TaskBroker
    look: Callable[[], Views]
    query: LogQuery
    clock: Callable[[], float]
    merge: LogMerge[Message] = field(init=False)
    readers: dict[tuple[str, str], _Reader] = field(default_factory=dict)
    notes: list[Message] = field(default_factory=list)
    warned: dict[str, str] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    began: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.merge = LogMerge(self.query.follow)

    async def run(self) -> AsyncIterator[list[Message]]:
        """Yield what there is, until all have ended (never, when following)."""
        q = self.query
        if not self._places():
            raise ControlError(_nobody(q, self.look()))
        next_look = 0.0
        while True:
            now = self.clock()
            if q.follow or not next_look:
                self._meet(now, first=not next_look)
                next_look = now + LOOK_SECONDS
            self.changed.clear()
            lines, notes = self.merge.take(now), self.notes
            self.notes = []
            if lines:
                self.room.set()
            ended = not q.follow and all(r.ended is not None for r in self.readers.values())
            if ended and not lines and self.merge.due() is None:
                if all(r.failed for r in self.readers.values()):
                    raise ControlError("; ".join(self.warned.values()))
                if notes:
                    yield notes
                return
            if lines or notes:
                yield notes + lines
                continue
            due = self.merge.due()
            ends = [t for t in (due, next_look if q.follow else None) if t is not None]
            await self._changed(max(0.005, min(ends) - self.clock()) if ends else None)

    async def stop(self) -> None:
        """End all reading."""
        tasks = [r.task for r in self.readers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _changed(self, seconds: float | None) -> None:
        try:
            await asyncio.wait_for(self.changed.wait(), seconds)
        except TimeoutError:
            return

    def _places(self) -> list[tuple[NodeView, str]]:
        q = self.query
        return [
            (view, i.id)
            for view in self.look().values()
            if q.node in ("", view.name)
            for i in view.instances
            if i.app == q.app and q.instance in ("", i.id)
        ]

    def _meet(self, now: float, *, first: bool) -> None:
        """Begin to read whoever is not being read."""
        for view, instance in self._places():
            place = (view.name, instance)
            reader = self.readers.get(place)
            if view.state in LOST_STATES:
                self._warn(view.name, f"node {view.name} is {view.state}: its lines are missing")
                if reader is None and first:
                    self.readers[place] = _Reader(asyncio.create_task(asyncio.sleep(0)), 0.0, True, now)
                continue
            if reader is None:
                # A replica that comes later is shown from its beginning.
                tail, since = (self.query.tail, self.query.since) if first else (ALL, self.began)
            elif reader.ended is not None and now - reader.ended >= AGAIN_SECONDS:
                tail, since = (ALL, reader.last) if reader.last else (self.query.tail, self.query.since)
            else:
                continue
            name = f"{view.name}/{instance}/{now}"
            self.merge.open(name)
            new = _Reader(asyncio.create_task(self._read(place, name, tail, since)), reader.last if reader else 0.0)
            self.readers[place] = new
        present = {(view.name, instance) for view, instance in self._places()}
        for place in [p for p, r in self.readers.items() if r.ended is not None and p not in present and not first]:
            del self.readers[place]

    async def _read(self, place: tuple[str, str], name: str, tail: int, since: float) -> None:
        node, instance = place
        await asyncio.sleep(0)
        reader, follow = self.readers[place], self.query.follow
        seen = reader.last
        try:
            question = {"instance": instance, "tail": tail, "follow": follow, "since": since}
            async with self.broker.ask(node, "logs", **question) as task:
                self.merge.started(name)
                self.warned.pop(node, None)
                async for batch in task.batches():
                    while self.merge.full(name):
                        self.room.clear()
                        await self.room.wait()
                    lines = [(at, line) for line in batch if (at := _at(line)) > seen]
                    if lines:
                        named = [(at, {**line, "instance": instance, "node": node}) for at, line in lines]
                        self.merge.put(name, named, self.clock())
                        reader.last = max(reader.last, lines[-1][0])
                        self.changed.set()
        except TaskError as error:
            reader.failed = True
            self._warn(node, f"{error}: lines of {instance} are missing")
        finally:
            self.merge.end(name)
            reader.ended = self.clock()
            self.changed.set()

    def _warn(self, node: str, text: str) -> None:
        if self.warned.get(node) != text:
            self.warned[node] = text
            self.notes.append({"warning": text})
            self.changed.set()


def _nobody(q: LogQuery, views: Views) -> str:
    apps = {i.app for v in views.values() for i in v.instances}
    if q.app not in apps:
        return f"no instance of {q.app} is known{near_hint(q.app, apps, 'see automator67 status')}"
    if q.node and q.node not in views:
        return f"there is no node {q.node}{near_hint(q.node, views)}"
    return f"no instance of {q.app} is known {f'on node {q.node}' if q.node else f'as {q.instance}'}"


def _at(line: Message) -> float:
    value = line.get("t", 0.0)
    return float(value) if isinstance(value, (int, float)) else 0.0
