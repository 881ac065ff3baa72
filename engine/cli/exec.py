"""``automator67 exec APP -- CMD``: a command in a running instance, where the node's own policy allows it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import click

from automator67.engine.cli.common import state_option


@click.command("exec", short_help="Run a command in a running instance of an app.")
@click.argument("app")
@click.option("--node", default="", help="In an instance on this node.")
@click.option("--instance", default="", help="In this instance, by its id (see automator67 status).")
@state_option
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, required=True, metavar="-- COMMAND...")
def command(app: str, node: str, instance: str, state: Path, argv: tuple[str, ...]) -> None:
    """Run COMMAND in an instance of APP, with input, output and exit code passed on.

    Only where the node's owner allows it (policy.toml on the node: exec = true). Who ran what is in the engine's
    history and in the agent's log. Exit code: the command's; 255 when it could not be run.
    """
    request = {"argv": list(argv), "node": node.removeprefix("node/"), "instance": instance}
    try:
        code = asyncio.run(_run(state / "control.sock", app.removeprefix("app/"), request))
    except KeyboardInterrupt:
        code = 130
    sys.stdout.flush()
    raise click.exceptions.Exit(code)


async def _run(socket: Path, app: str, request: dict[str, Any]) -> int:
    import aiohttp

    connector = aiohttp.UnixConnector(str(socket))
    try:
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.ws_connect(f"http://engine/exec/{app}", max_msg_size=2**20) as ws,
        ):
            await ws.send_str(json.dumps(request))
            typing = asyncio.create_task(_type(ws))
            try:
                return await _show(ws)
            finally:
                typing.cancel()
    except aiohttp.ClientConnectorError as error:
        text = f"no engine answers in {socket.parent}; start it with `automator67 up`, or give --state"
        raise click.ClickException(text) from error
    except aiohttp.ClientError as error:
        raise click.ClickException(f"the engine did not answer: {type(error).__name__}") from error


async def _show(ws: Any) -> int:
    async for message in ws:
        if isinstance(message.data, bytes):
            os.write(2 if message.data[:1] == b"\2" else 1, message.data[1:])
            continue
        answer = json.loads(message.data)
        if "error" in answer:
            raise click.ClickException(answer["error"])
        if "exit" in answer:
            return int(answer["exit"])
    raise click.ClickException("the engine went away before the command had ended")


async def _type(ws: Any) -> None:
    """Pass standard input on, piece by piece."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes] = asyncio.Queue(4)

    def read() -> None:
        data = b"."
        while data:
            try:
                data = os.read(0, 32 * 1024)
            except OSError:
                data = b""
            # Waits until there is room: what is piped in is never collected here.
            asyncio.run_coroutine_threadsafe(pieces.put(data), loop).result()

    # A thread that may wait for ever at a terminal must not keep the program from ending.
    threading.Thread(target=read, daemon=True).start()
    while data := await pieces.get():
        await ws.send_bytes(data)
    await ws.send_str("end")
