"""A bucket that nodes put snapshots into: a process that serves it while it is asked for (engine/s3/inner.py).

A process of its own, so that neither its memory nor a provider that is slow is the engine's. It ends with the engine,
however that ends, since its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, UnixConnector

_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


class NotServed(Exception):
    """The bucket cannot be opened; one line."""


class BucketServer:
    """One such process. ``told`` is what it is told; it listens on ``socket``."""

    def __init__(self, told: Mapping[str, Any], socket: Path) -> None:
        self._told, self._socket = {**told, "socket": str(socket)}, socket
        self._process: asyncio.subprocess.Process | None = None
        self.session: ClientSession | None = None
        self.busy = 0
        """How many requests are under way."""

    @property
    def runs(self) -> bool:
        """Whether it serves."""
        return self.session is not None and self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Have it serve. Raises NotServed."""
        self._socket.unlink(missing_ok=True)
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "automator67.engine.s3.inner", stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                process.stdin.write(json.dumps(self._told).encode() + b"\n")
                await process.stdin.drain()
                said = (await process.stdout.readline()).decode(errors="replace").strip()
        except (TimeoutError, ConnectionError):
            said = f"it did not open within {_START_SECONDS:.0f} s"
        except BaseException:
            await self.stop()
            raise
        if said != "ready":
            await self.stop()
            raise NotServed(said or "its process ended without a word")
        self.session = ClientSession(
            "http://bucket",
            connector=UnixConnector(str(self._socket), limit=0),
            auto_decompress=False,
            timeout=ClientTimeout(total=None),
        )

    async def stop(self) -> None:
        """End it: what is under way is finished first."""
        if self.session is not None:
            await self.session.close()
            self.session = None
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._socket.unlink(missing_ok=True)
