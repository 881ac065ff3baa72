"""Runs one statement of a client by its plan."""

from __future__ import annotations

import contextlib
from typing import Protocol

from automator67.engine.shards.connections import Connections
from automator67.engine.shards.execute import Output, Tally, fan, gather, pass_through, rows_of_all
from automator67.engine.shards.inserts import insert_rows
from automator67.engine.shards.plan.conditions import Condition, shards_of
from automator67.engine.shards.plan.model import Concatenated, Fan, Gathered, OneShard, Plan, Refused, Rows
from automator67.engine.shards.plan.place import shards_meant
from automator67.engine.shards.plans import Described, Planned
from automator67.engine.shards.values import Call
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import Backend, ShardError


class Held(Protocol):
    """What a portal remembers of the shard it runs on."""

    backend: Backend | None


class Runner:
    """Runs statements with one client's connections; answers go to ``out``."""

    def __init__(self, connections: Connections, out: Output) -> None:
        self._connections = connections
        self._router = connections.router
        self.out = out

    async def describe(self, text: str, oids: tuple[int, ...]) -> Described:
        """Ask the default shard what parameters and columns a statement has. Raises ShardError."""
        async with self._connections.lend(self._connections.default) as backend:
            backend.write(m.parse(b"", text, oids) + m.describe(b"S", b"") + m.SYNC)
            parameters: tuple[int, ...] = ()
            fields: list[m.Field] | None = None
            trouble: ShardError | None = None
            while (item := await backend.read())[:1] != b"Z":
                if item[:1] == b"t":
                    parameters = tuple(int.from_bytes(item[n : n + 4], "big") for n in range(7, len(item), 4))
                elif item[:1] == b"T":
                    fields = m.fields_of(item)
                elif item[:1] == b"E":
                    trouble = ShardError(backend.shard, item)
        if trouble is not None:
            raise trouble
        return Described(parameters, fields)

    async def run(self, planned: Planned, plan: Plan, call: Call, held: Held | None = None) -> bool:
        """Answer a statement; False when an error of a shard was passed on. Raises ShardError, Refused."""
        match plan:
            case OneShard():
                tally = await self._one(planned, plan, call, held)
            case Concatenated():
                tally = await self._several(planned, plan, call)
            case Gathered():
                await self._described(planned, call)
                tally = await gather(
                    plan, call, self._connections, self._connections.default, lambda c: self._targets(c, call), self.out
                )
            case Fan():
                tally = await self._fan(plan, call)
            case Rows():
                tally = await insert_rows(self, self._connections, plan, call, self.out)
        if planned.statement.kind == "ddl" and not tally.failed:
            await self._router.refresh()
        if tally.tag and not tally.passed:
            await self.out.send(m.complete(tally.tag))
        return not tally.failed

    def _targets(self, condition: Condition, call: Call) -> list[int]:
        return sorted(shards_of(condition, self._router.layout, call.read()))

    async def _one(self, planned: Planned, plan: OneShard, call: Call, held: Held | None) -> Tally:
        shard = plan.fixed
        if shard is None:
            together = shards_meant(plan, self._router.layout, call.read())
            if len(together) > 1:
                if plan.otherwise is None:
                    raise Refused("it needs rows of several shards", "Compare the shard key with one value.")
                tally = Tally(passed=True)
                tally.failed = not await self.run(planned, plan.otherwise, call)
                return tally
            shard = min(together, default=self._connections.default)
        if plan.writes and planned.statement.kind != "select":
            await self._connections.will_write(shard)
        return await self.on_shard(shard, call, held)

    async def on_shard(self, shard: int, call: Call, held: Held | None = None) -> Tally:
        """Run the statement as it is on one shard. Raises ShardError."""
        async with self._connections.lend(shard) as backend:
            if held is not None and self._connections.transaction is not None and call.bound is not None:
                call.portal = call.bound.portal
                call.resumes = held.backend is backend
                held.backend = backend
            return await pass_through(backend, call, self.out)

    async def _described(self, planned: Planned, call: Call) -> Described:
        if call.described is None:
            known = planned.described.get(())
            if known is None:
                known = planned.described[()] = await self.describe(call.text, ())
            call.described = known
        return call.described

    async def _several(self, planned: Planned, plan: Concatenated, call: Call) -> Tally:
        targets = self._targets(plan.where, call) or [self._connections.default]
        described = await self._described(planned, call)
        if not call.extended:
            await self.out.send(m.row_description(described.fields or []))
        count = 0
        async with contextlib.aclosing(rows_of_all(plan, targets, call, described, self._connections)) as runs:
            async for run in runs:
                count += sum(1 for _ in m.rows_of(run))
                await self.out.send(run)
        return Tally(f"SELECT {count}")

    async def _fan(self, plan: Fan, call: Call) -> Tally:
        targets = sorted(self._router.layout.every) if plan.copy else self._targets(plan.where, call)
        targets = targets or [self._connections.default]
        async with self._connections.all_or_nothing(set(targets), ddl=plan.ddl):
            return await fan(targets, call, self._connections, self.out, copy=plan.copy)
