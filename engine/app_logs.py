"""Log lines of an app, merged over its instances as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from automator67.engine.control import ControlError
from automator67.engine.nodes.tasks import TaskBroker, TaskError
from automator67.engine.observed import NodeView

MERGE_SECONDS = 0.2
"""How long the first lines of all instances are collected, to be put in the order of their times."""


async def app_logs(
    broker: TaskBroker, views: Mapping[str, NodeView], app: str, query: Mapping[str, str]
) -> AsyncIterator[Mapping[str, Any]]:
    """Yield the lines of every instance of ``app``, each with its instance and node. Raises ControlError."""
    only = query.get("node", "")
    places = [(v.name, i.id) for v in views.values() for i in v.instances if i.app == app and only in ("", v.name)]
    if not places:
        where = f" on node {only}" if only else ""
        raise ControlError(f"no instance of {app} is known{where}; see automator67 status")
    tail, since, follow = int(query.get("tail", "100")), float(query.get("since", "0")), "follow" in query
    queue: asyncio.Queue[Mapping[str, Any] | TaskError | None] = asyncio.Queue(1024)

    async def read(node: str, instance: str) -> None:
        try:
            async for line in broker.logs(node, instance, tail=tail, follow=follow, since=since):
                await queue.put({**line, "instance": instance, "node": node})
        except TaskError as error:
            await queue.put(error)
        await queue.put(None)

    readers = [asyncio.create_task(read(*place)) for place in places]
    try:
        async for line in _merged(queue, len(readers)):
            yield line
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _merged(
    queue: asyncio.Queue[Mapping[str, Any] | TaskError | None], readers: int
) -> AsyncIterator[Mapping[str, Any]]:
    """Yield lines in the order of their times within what arrives together; errors once all lines are out."""
    batch: list[Mapping[str, Any]] = []
    errors: list[TaskError] = []
    while readers:
        try:
            item = await asyncio.wait_for(queue.get(), MERGE_SECONDS if batch else None)
        except TimeoutError:
            for line in sorted(batch, key=_at):
                yield line
            batch = []
            continue
        if item is None:
            readers -= 1
        elif isinstance(item, TaskError):
            errors.append(item)
        else:
            batch.append(item)
    for line in sorted(batch, key=_at):
        yield line
    if errors:
        raise ControlError("; ".join(dict.fromkeys(str(e) for e in errors)))


def _at(line: Mapping[str, Any]) -> float:
    value = line.get("t", 0.0)
    return float(value) if isinstance(value, (int, float)) else 0.0
