"""One logical database: its pools, what is known of its tables, and the plans of statements seen before."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from automator67.engine.breaker import Breakers
from automator67.engine.shards.inspect import read_catalog
from automator67.engine.shards.journal import Journal
from automator67.engine.shards.layout import Layout
from automator67.engine.shards.plan.catalog import Catalog
from automator67.engine.shards.plan.model import Plan, Refused
from automator67.engine.shards.plan.planner import plan_statement
from automator67.engine.shards.plan.statements import Statement, Unreadable, split
from automator67.engine.shards.pool import POLICY, Pool
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.address import Address
from automator67.engine.shards.wire.backend import Backend

log = logging.getLogger("automator67.sql")
# The parser tells on stderr about what it does not know; the client is told instead.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

MAX_PLANS = 2000
MAX_CACHED_TEXT = 16 * 1024
"""Longer texts are planned each time: they are hardly ever seen twice."""


@dataclass(slots=True)
class Described:
    """What PostgreSQL says of a statement: the types of its parameters, its columns (None: it returns no rows)."""

    parameters: tuple[int, ...]
    fields: list[m.Field] | None


@dataclass(slots=True)
class Planned:
    """A statement that was looked at: its plan, or why there is none; what PostgreSQL says of it, once asked."""

    statement: Statement
    plan: Plan | Refused | Unreadable
    described: dict[tuple[int, ...], Described] = field(default_factory=dict)
    uses: int = 0
    microseconds: float = 0.0


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
        self.catalog = Catalog(layout)
        self.parameters: dict[str, str] = {}
        self.plans: OrderedDict[tuple[str, tuple[str, ...]], Planned] = OrderedDict()
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
                self.catalog = await read_catalog(self.layout, backend)
                self.parameters = dict(backend.parameters)
            finally:
                pool.give(backend)
            self.plans.clear()

    async def _plainly(self, backend: Backend) -> None:
        if backend.applied:
            await backend.run("RESET ALL")
            backend.applied = {}

    def statements(self, text: str) -> list[Statement]:
        """Return the statements of a text. Raises Unreadable."""
        return split(text)

    def planned(self, statement: Statement, path: tuple[str, ...]) -> Planned:
        """Return the plan of a statement, with names looked for along ``path``."""
        path = tuple(schema for schema in path if schema in self.catalog.schemas)
        key = (statement.text, path)
        found = self.plans.get(key)
        if found is None:
            started = time.perf_counter()
            try:
                plan: Plan | Refused | Unreadable = plan_statement(statement, self.catalog, path)
            except (Refused, Unreadable) as reason:
                plan = reason
            found = Planned(statement, plan, microseconds=(time.perf_counter() - started) * 1e6)
            if len(statement.text) <= MAX_CACHED_TEXT:
                self.plans[key] = found
                if len(self.plans) > MAX_PLANS:
                    self.plans.popitem(last=False)
        else:
            self.plans.move_to_end(key)
        found.uses += 1
        return found

    def close(self) -> None:
        """Close idle connections and the journal."""
        for pool in self.pools:
            pool.close()
        self.journal.close()
