"""The endpoint's process: opens the buckets, listens until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from automator67.engine.buckets.errors import BucketError
from automator67.engine.buckets.opening import Secret, open_bucket
from automator67.engine.buckets.rules import Rules
from automator67.engine.listening import ListenError, certificates, host_and_port
from automator67.engine.s3.access import AccessProblem, holder_of, holders
from automator67.engine.s3.server import Endpoint

log = logging.getLogger("automator67.s3")

_KEEPALIVE_SECONDS = 75.0


class EndpointError(Exception):
    """The endpoint cannot start; one line for a person."""


def serve(
    rules: Mapping[str, Rules], nodes: Mapping[str, Mapping[str, Any]], secret: Secret, state: Path, listen: str,
    certificate: Path | None, key: Path | None, domain: str = "",
) -> None:  # fmt: skip
    """Serve the buckets until SIGTERM or SIGINT. ``nodes`` are documents by name. Raises EndpointError."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if not any(r.access for r in rules.values()):
        raise EndpointError("no bucket has an access key: add access to buckets/NAME.yaml")
    try:
        host, port = host_and_port(listen, "files", encrypted=certificate is not None)
        context = certificates(certificate, key)
        uvloop.run(_serve(rules, nodes, secret, state, (host, port), context, domain))
    except (BucketError, AccessProblem, ListenError, OSError, ssl.SSLError) as error:
        raise EndpointError(str(error)) from error


async def _serve(
    rules: Mapping[str, Rules], nodes: Mapping[str, Mapping[str, Any]], secret: Secret, state: Path,
    address: tuple[str, int], context: ssl.SSLContext | None, domain: str,
) -> None:  # fmt: skip
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    served = [r for r in rules.values() if r.access]
    known = holders(served, {a.secret: secret(a.secret).decode() for r in served for a in r.access})
    async with AsyncExitStack() as closing:
        buckets = {}
        for one in served:
            buckets[one.name] = await open_bucket(one, nodes, secret, state)
            closing.push_async_callback(buckets[one.name].close)
        endpoint = Endpoint(buckets, partial(holder_of, known=known), domain)
        server = web.Server(endpoint.handle, keepalive_timeout=_KEEPALIVE_SECONDS)
        runner = web.ServerRunner(server, access_log=None)
        await runner.setup()
        closing.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, *address, ssl_context=context, backlog=1024).start()
        log.info("serving %s on %s:%s", ", ".join(sorted(buckets)), *address)
        await stop.wait()
