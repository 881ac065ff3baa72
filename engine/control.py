"""The engine's own socket: what the command line asks of a running engine. Only the state directory's owner can."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ControlError(Exception):
    """The request cannot be done; one line for the person."""


@dataclass(frozen=True, slots=True)
class Actions:
    """What can be asked: each is a coroutine of the engine process. They raise ControlError."""

    sync: Callable[[bool], Awaitable[Mapping[str, Any]]]
    token: Callable[[str, float], Awaitable[Mapping[str, Any]]]
    revoke: Callable[[str], Awaitable[Mapping[str, Any]]]
    logs: Callable[[str, Mapping[str, str]], AsyncIterator[list[Mapping[str, Any]]]]
    run: Handler
    """Serves ``GET /exec/{app}`` (see engine/control_exec.py)."""
    promote: Callable[[str, bool, bool], Awaitable[Mapping[str, Any]]]
    roll_back: Callable[[str, str, bool], Awaitable[Mapping[str, Any]]]
    begin_run: Callable[[str, tuple[str, ...], str], Awaitable[Mapping[str, Any]]]
    end_run: Callable[[str, int, str], Awaitable[Mapping[str, Any]]]
    volumes: Callable[[str, Mapping[str, str]], Awaitable[Mapping[str, Any]]]
    """What is done with volumes: a verb and what it is about (see engine/volume_actions.py)."""
    alerts: Callable[[str, Mapping[str, str]], Awaitable[Mapping[str, Any]]]
    """The same for alerts (see engine/alert_actions.py)."""


class Control:
    """Serves ``Actions`` over HTTP on a Unix socket of mode 0600."""

    def __init__(self, path: Path, actions: Actions) -> None:
        self._path = path
        self._actions = actions
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; a socket left by an engine that was killed is replaced."""
        app = web.Application(client_max_size=65536)
        app.router.add_post("/sync", self._sync)
        app.router.add_post("/nodes/{node}/token", self._token)
        app.router.add_post("/nodes/{node}/revoke", self._revoke)
        app.router.add_get("/logs/{app}", self._logs)
        app.router.add_get("/exec/{app}", self._actions.run)
        app.router.add_post("/apps/{app}/promote", self._promote)
        app.router.add_post("/apps/{app}/rollback", self._rollback)
        app.router.add_post("/apps/{app}/runs", self._begin_run)
        app.router.add_post("/apps/{app}/runs/{number:[0-9]{1,9}}/end", self._end_run)
        app.router.add_post("/volumes/{verb}", self._volumes)
        app.router.add_post("/alerts/{verb}", self._alerts)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        self._path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            await web.UnixSite(self._runner, str(self._path)).start()
        finally:
            os.umask(mask)

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    async def _sync(self, request: web.Request) -> web.Response:
        return await _answer(self._actions.sync("confirm" in request.query))

    async def _token(self, request: web.Request) -> web.Response:
        ttl = float(request.query.get("ttl", "3600"))
        return await _answer(self._actions.token(request.match_info["node"], ttl))

    async def _revoke(self, request: web.Request) -> web.Response:
        return await _answer(self._actions.revoke(request.match_info["node"]))

    async def _promote(self, request: web.Request) -> web.Response:
        asked = self._actions.promote(request.match_info["app"], "abort" in request.query, "dry" in request.query)
        return await _answer(asked)

    async def _rollback(self, request: web.Request) -> web.Response:
        revision = request.query.get("revision", "")
        return await _answer(self._actions.roll_back(request.match_info["app"], revision, "dry" in request.query))

    async def _begin_run(self, request: web.Request) -> web.Response:
        argv = tuple(request.query.getall("argv", []))
        return await _answer(self._actions.begin_run(request.match_info["app"], argv, caller(request)))

    async def _end_run(self, request: web.Request) -> web.Response:
        app, number = request.match_info["app"], int(request.match_info["number"])
        return await _answer(self._actions.end_run(app, number, caller(request)))

    async def _volumes(self, request: web.Request) -> web.Response:
        return await _answer(self._actions.volumes(request.match_info["verb"], dict(request.query)))

    async def _alerts(self, request: web.Request) -> web.Response:
        asked = dict(request.query) | {"by": caller(request)}
        return await _answer(self._actions.alerts(request.match_info["verb"], asked))

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        try:
            lines = self._actions.logs(request.match_info["app"], dict(request.query))
            first = await anext(lines)
        except StopAsyncIteration:
            return web.Response(content_type="application/x-ndjson")
        except ControlError as error:
            return web.json_response({"error": str(error)}, status=409)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            await response.write(_lines(first))
            async for batch in lines:
                await response.write(_lines(batch))
        except ControlError as error:
            await response.write(json.dumps({"error": str(error)}).encode() + b"\n")
        except (ConnectionResetError, asyncio.CancelledError):
            await lines.aclose()  # type: ignore[attr-defined]
            raise
        return response


def caller(request: web.Request) -> str:
    """Return who is at the other end of a Unix socket, as the kernel knows it: ``uid 1000 (ana)``."""
    peer: socket.socket | None = request.transport.get_extra_info("socket") if request.transport else None
    if peer is None:
        return "an unknown user"
    data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid = struct.unpack("3i", data)[1]
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}" if uid != os.geteuid() else f"uid {uid} (the engine's own)"


def _lines(batch: list[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in batch).encode(errors="replace")


async def _answer(work: Awaitable[Mapping[str, Any]]) -> web.Response:
    try:
        return web.json_response(dict(await work))
    except ControlError as error:
        return web.json_response({"error": str(error)}, status=409)
