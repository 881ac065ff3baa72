"""The process that serves one bucket to the engine, for the snapshots that nodes put into it.

It is told everything on its standard input, in one line of JSON: no argument and no environment holds a secret. It says
``ready`` or why it cannot, in one line on its standard output, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from automator67.engine.buckets.errors import BucketError
from automator67.engine.buckets.opening import open_bucket
from automator67.engine.buckets.rules import rules_of
from automator67.engine.s3.access import granted
from automator67.engine.s3.server import Endpoint


def main() -> None:
    """Serve until the engine lets go."""
    told = json.loads(sys.stdin.buffer.readline())
    try:
        uvloop.run(_serve(told))
    except (BucketError, OSError) as error:
        _say(" ".join(str(error).split()))
        sys.exit(1)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _serve(told: dict[str, Any]) -> None:
    values = {name: base64.b64decode(value) for name, value in told["secrets"].items()}
    rules = rules_of(told["name"], told["bucket"])
    bucket = await open_bucket(rules, told["nodes"], values.__getitem__, Path(told["state"]))
    try:
        endpoint = Endpoint({rules.name: bucket}, partial(granted, key=told["grants"]))
        runner = web.ServerRunner(web.Server(endpoint.handle), access_log=None)
        await runner.setup()
        os.umask(0o077)
        await web.UnixSite(runner, told["socket"]).start()
        _say("ready")
        await _end_of_input()
        await runner.cleanup()
    finally:
        await bucket.close()


async def _end_of_input() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


if __name__ == "__main__":
    main()
