"""The router's process: reads where the shards are, learns their tables, listens until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from automator67.engine.listening import ListenError, certificates, host_and_port
from automator67.engine.shards.journal import Journal, JournalInUse
from automator67.engine.shards.layout import LayoutError, layout_of
from automator67.engine.shards.router import Router
from automator67.engine.shards.server import Front
from automator67.engine.shards.wire.address import BadUrl, read_url
from automator67.engine.shards.wire.backend import ShardError
from automator67.engine.shards.wire.scram import Verifier
from automator67.engine.standing_files import StandingFile

log = logging.getLogger("automator67.sql")

RECOVER_SECONDS = 5.0
TELL_SECONDS = 1.0


class RouterError(Exception):
    """The router cannot start; one line for a person."""


def serve(
    name: str, document: Mapping[str, Any], secrets: Mapping[str, str], state: Path, listen: str,
    certificate: Path | None, key: Path | None,
) -> None:  # fmt: skip
    """Serve until SIGTERM or SIGINT. ``secrets`` are the urls that are secrets. Raises RouterError."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        host, port = host_and_port(listen, "passwords and rows", encrypted=certificate is not None)
        layout = layout_of(name, document)
        addresses = [_address(shard.name, shard.url or secrets[shard.secret]) for shard in layout.shards]
        router = Router(layout, addresses, Journal(state / f"{name}.journal", name))
        default = addresses[layout.default]
        front = Front(router, default.user, Verifier.of(default.password), certificates(certificate, key))
        if not default.password:
            raise RouterError("the default shard's url has no password, which clients need to log in to the router")
        uvloop.run(_serve(front, host, port, StandingFile(state, name)))
    except (LayoutError, JournalInUse, ListenError, ShardError, OSError, ssl.SSLError) as error:
        raise RouterError(str(error)) from error


def _address(name: str, url: str) -> Any:
    try:
        return read_url(url)
    except BadUrl as error:
        raise RouterError(f"shard {name}: {error}") from error


async def _serve(front: Front, host: str, port: int, standing: StandingFile) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    router = front.router
    await router.start()
    server = await loop.create_server(front.accept, host, port)
    beside = [asyncio.create_task(finish_left(router)), asyncio.create_task(tell_breakers(router, standing))]
    names = ", ".join(shard.name for shard in router.layout.shards)
    log.info("serving %s on %s:%s over shards %s", router.layout.name, host, port, names)
    await stop.wait()
    for task in beside:
        task.cancel()
    standing.remove()
    server.close()
    await front.stop()
    router.close()


async def finish_left(router: Router) -> None:
    """Finish transactions whose last step a shard did not answer, until cancelled."""
    while True:
        await asyncio.sleep(RECOVER_SECONDS)
        if router.journal.unfinished:
            with contextlib.suppress(ShardError):
                await router.journal.recover(router.pools)


async def tell_breakers(router: Router, standing: StandingFile) -> None:
    """Let the engine know which shards are left alone, until cancelled."""
    while True:
        try:
            await asyncio.to_thread(standing.tell, router.breakers.standings())
        except OSError as error:
            log.warning("cannot tell how the shards stand: %s", error)
        await asyncio.sleep(TELL_SECONDS)
