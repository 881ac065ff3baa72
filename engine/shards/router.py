"""One logical database: its pools, what is known of its tables, and the plans of statements seen before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from automator67.engine.breaker import Breakers
from automator67.engine.shards.inspect import read_catalog
from automator67.engine.shards.journal import Journal
from automator67.engine.shards.layout import Layout
from automator67.engine.shards.plan.catalog import Catalog
from automator67.engine.shards.plans import Plans
from automator67.engine.shards.pool import POLICY, Pool
from automator67.engine.shards.wire.address import Address
from automator67.engine.shards.wire.backend import Backend

log = logging.getLogger("automator67.sql")
# The parser tells on stderr about what it does not know; the client is told instead.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


class Router:
    """What all clients of one logical database share."""

    def __init__(self, layout: Layout, addresses: Sequence[Address], journal: Journal) -> None:
        self.layout = layout
        self.breakers = Breakers()
        self.pools = [
            Pool(s, n, a, self.breakers.before(f"shard/{layout.name}/{s.name}", f"shard {s.name}", POLICY))
            for n, (s, a) in enumerate(zip(layout.shards, addresses, strict=True))
        ]
        self.journal = journal
        self.plans = Plans(Catalog(layout))
        self.parameters: dict[str, str] = {}
        self._stale = asyncio.Lock()

    async def start(self) -> None:
        """Finish what a crash left open and learn the tables. Raises ShardError."""
        finished = await self.journal.recover(self.pools)
        if finished:
            log.warning("finished %d transactions that an earlier process had left prepared", finished)
        for name in await self.journal.strangers(self.pools):
            log.warning("%s holds locks: another router prepared it; only its journal knows whether to commit", name)
        await self.refresh()

    async def refresh(self) -> None:
        """Learn the tables anew, after DDL; every plan is forgotten. Raises ShardError."""
        async with self._stale:
            pool = self.pools[self.layout.default]
            backend = await pool.take()
            try:
                await self._plainly(backend)
                catalog = await read_catalog(self.layout, backend)
                self.parameters = dict(backend.parameters)
            finally:
                pool.give(backend)
            self.plans.renew(catalog)

    @property
    def catalog(self) -> Catalog:
        """What is known of the tables."""
        return self.plans.catalog

    async def _plainly(self, backend: Backend) -> None:
        if backend.applied:
            await backend.run("RESET ALL")
            backend.applied = {}

    def close(self) -> None:
        """Close idle connections and the journal."""
        for pool in self.pools:
            pool.close()
        self.journal.close()
