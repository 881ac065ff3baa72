"""The part of the engine's own socket by which a person runs a command: a WebSocket.

The first message is JSON, ``{"argv": [...], "node", "instance"}``; further ones are bytes of input, or the text ``end``
at their end. Back come JSON messages (``{"instance", "node"}``, ``{"exit": n}``, ``{"error": text}``) and bytes of
output, the first of which is 1 or 2 for the stream.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from aiohttp import WSMsgType, web

from automator67.engine.app_exec import Command, Person, read_command
from automator67.engine.control import ControlError, caller

Exec = Callable[[Command, Person], AsyncIterator[Mapping[str, Any]]]


class _Socket:
    """The person at the other end of a WebSocket."""

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self._ws = ws

    async def input(self) -> bytes | None:
        message = await self._ws.receive()
        if message.type is WSMsgType.BINARY:
            return bytes(message.data)
        if message.type is WSMsgType.TEXT:
            return None
        raise ConnectionError

    async def output(self, stream: str, data: bytes) -> None:
        await self._ws.send_bytes((b"\2" if stream == "err" else b"\1") + data)


def exec_handler(run: Exec) -> Callable[[web.Request], Any]:
    """Return the handler of ``GET /exec/{app}``."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(max_msg_size=2**18, heartbeat=30.0)
        await ws.prepare(request)
        person = _Socket(ws)
        with contextlib.suppress(ConnectionError):
            try:
                command = read_command(request.match_info["app"], caller(request), await _first(ws))
                answers = run(command, person)
                try:
                    async for answer in answers:
                        await ws.send_str(json.dumps(answer))
                finally:
                    await answers.aclose()  # type: ignore[attr-defined]
            except ControlError as error:
                await ws.send_str(json.dumps({"error": str(error)}))
            await ws.close()
        return ws

    return handle


async def _first(ws: web.WebSocketResponse) -> Any:
    message = await ws.receive()
    if message.type is not WSMsgType.TEXT:
        raise ConnectionError
    try:
        return json.loads(message.data)
    except ValueError:
        raise ControlError("the request is not JSON") from None
