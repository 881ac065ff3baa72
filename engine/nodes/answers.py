"""Takes what an agent answers to a task, and sends up to it what whoever asks has to say.

Both go over one request at the same time: its body is the answer, one JSON object per line; the response's body,
which begins at once, is what goes up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import ClientError, web

from automator67.engine.nodes.tasks import Task

LONGEST_LINE = 256 * 1024
Redact = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes out of a line what nobody may read."""


async def take_answer(request: web.Request, task: Task, redact: Redact) -> web.StreamResponse:
    """Pass the body of a request on until it ends, breaks off, or nobody reads any more, each line redacted."""
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    upward: asyncio.Task[None] | None = None
    try:
        if task.message["kind"] == "exec":
            await response.prepare(request)
            upward = asyncio.create_task(_send(task, response))
        await _until_closed(_receive(request, task, redact), task)
    except (ClientError, ConnectionError, asyncio.CancelledError):
        task.end(f"the connection to node {task.node} broke")
        raise
    finally:
        task.end()
        if upward is not None:
            upward.cancel()
            await asyncio.gather(upward, return_exceptions=True)
    if upward is None:
        await response.prepare(request)
    await response.write_eof()
    if task.closed and request.transport is not None:
        # Nobody reads any more: the agent is to notice now, and not at its next line.
        request.transport.close()
    return response


async def _until_closed(receiving: Coroutine[Any, Any, None], task: Task) -> None:
    """Receive until the end, or until nobody reads any more."""
    work = asyncio.create_task(receiving)
    closing = asyncio.create_task(task.until_closed())
    try:
        await asyncio.wait((work, closing), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        for each in (work, closing):
            each.cancel()
        await asyncio.gather(work, closing, return_exceptions=True)


async def _receive(request: web.Request, task: Task, redact: Redact) -> None:
    rest = b""
    while data := await request.content.readany():
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            task.end(f"node {task.node} sent a line that is too long")
            return
        batch = [redact(line) for raw in lines if (line := _parsed(raw)) is not None]
        error = next((line["error"] for line in batch if isinstance(line.get("error"), str)), "")
        if not await task.put([line for line in batch if "error" not in line]):
            return
        if error:
            task.end(str(error)[:500])
            return


async def _send(task: Task, response: web.StreamResponse) -> None:
    with contextlib.suppress(ConnectionError):
        async for data in task.upward():
            await response.write(data)
        # The end of the body tells the agent that no more comes.
        await response.write_eof()


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
