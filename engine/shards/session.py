"""One client: its settings, transaction, prepared statements and portals; answers each of its messages."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable

from automator67.engine.shards.connections import Connections
from automator67.engine.shards.control import ABORTED, ControlStatements
from automator67.engine.shards.express import Express
from automator67.engine.shards.extended import Extended
from automator67.engine.shards.plan.model import Refused
from automator67.engine.shards.plan.statements import Statement, Unreadable, split
from automator67.engine.shards.plans import Planned
from automator67.engine.shards.portals import Portal, Prepared
from automator67.engine.shards.router import Router
from automator67.engine.shards.running import Runner
from automator67.engine.shards.settings import SessionSettings
from automator67.engine.shards.transaction import Transaction
from automator67.engine.shards.values import Call
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import Backend, ShardError
from automator67.engine.shards.wire.channel import Channel

log = logging.getLogger("automator67.sql")


class Session:
    """Serves one client that has logged in."""

    def __init__(self, router: Router, channel: Channel, settings: SessionSettings, number: int) -> None:
        self.router = router
        self.channel = channel
        self.settings = settings
        self.number = number
        self.secret = secrets.token_bytes(4)
        self.connections = Connections(router, settings)
        self.runner = Runner(self.connections, self)
        self.doing = ""
        self.at_rest = False
        self.extended = Extended(self)
        self.control = ControlStatements(self)
        self._express = Express(self)
        channel.offer = self._express.offer

    @property
    def status(self) -> bytes:
        """Return ReadyForQuery's status."""
        transaction = self.connections.transaction
        if transaction is None or (transaction.implicit and not transaction.failed):
            return b"I"
        return b"E" if transaction.failed else b"T"

    async def serve(self) -> None:
        """Answer until the client leaves. Raises Closed, Malformed."""
        batch: list[bytes] = []
        try:
            while True:
                self.at_rest = not batch and not self.extended.skipping
                item = await self.channel.read()
                self.at_rest = False
                kind = item[:1]
                if kind == b"X":
                    return
                if kind == b"Q":
                    await self._simple(item)
                elif kind in (b"S", b"H"):
                    await self.extended.answer([*batch, item])
                    batch.clear()
                elif kind in (b"P", b"B", b"D", b"E", b"C"):
                    batch.append(item)
                elif kind == b"F":
                    self.channel.write(
                        m.error("0A000", "function calls by OID are not supported") + m.ready(self.status)
                    )
                elif kind not in (b"d", b"c", b"f"):
                    raise m.Malformed(f"message type {kind!r}")
        finally:
            await self.leave()

    async def leave(self) -> None:
        """Undo what is open; also when the client vanished in the midst of a statement."""
        self.channel.offer = None
        self._express.leave()
        await self.connections.leave()

    async def cancel(self) -> None:
        """End what runs now."""
        if self._express.backend is not None:
            await self._express.backend.cancel()
        await self.connections.cancel()

    # Output

    async def send(self, data: bytes) -> None:
        """Pass messages to the client; waits while it is slow."""
        self.channel.write(data)
        await self.channel.drain()

    async def copied(self, backend: Backend) -> None:
        """Bring the client's COPY data to a shard, until it ends."""
        while True:
            item = await self.channel.read()
            if item[:1] in (b"d", b"c", b"f"):
                backend.write(item)
                await backend.drain()
            if item[:1] in (b"c", b"f"):
                return
            if item[:1] == b"X":
                backend.write(m.message(b"f", m.cstring("the client has gone")))
                return

    # Simple queries

    async def _simple(self, item: bytes) -> None:
        text = item[5:-1].decode("utf-8", "replace")
        try:
            statements = split(text)
        except Unreadable:
            await self.guarded(self.unreadable(text))
            await self.send(m.ready(self.status))
            return
        if not statements:
            self.channel.write(m.EMPTY_QUERY)
        many = len(statements) > 1 and self.connections.transaction is None
        if many:
            self.connections.transaction = Transaction("BEGIN", implicit=True)
        for statement in statements:
            if not await self.guarded(self.answer(statement, Call(statement.text))):
                break
        if self.connections.transaction is not None and self.connections.transaction.implicit:
            await self.guarded(self.connections.end(commit=not self.connections.transaction.failed))
        await self.send(m.ready(self.status))

    async def guarded(self, work: Awaitable[bool | None]) -> bool:
        """Run a step; an error goes to the client and fails the transaction. False when there was one."""
        try:
            if await work is not False:
                return True
            self._fail(b"")
        except ShardError as trouble:
            self._fail(trouble.raw)
        except Refused as refused:
            self._fail(m.error(refused.code, refused.reason, hint=refused.hint))
        return False

    def _fail(self, raw: bytes) -> None:
        self.channel.write(raw)
        if self.connections.transaction is not None:
            self.connections.transaction.failed = True

    async def unreadable(self, text: str) -> None:
        """Let PostgreSQL say what is wrong with a text; if nothing is, the router says what it cannot do."""
        await self.runner.describe(text, ())
        raise Refused("the router does not understand this statement")

    # Any statement

    async def answer(self, statement: Statement, call: Call, portal: Portal | None = None) -> bool:
        """Answer one statement; False when an error was passed on. Raises ShardError, Refused."""
        self.doing = statement.text
        if await self.control.answer(statement):
            return True
        transaction = self.connections.transaction
        if transaction is not None and transaction.failed:
            raise ShardError("", ABORTED)
        planned = self._planned(statement, call, portal)
        if isinstance(planned.plan, Unreadable):
            await self.unreadable(statement.text)
        if isinstance(planned.plan, (Refused, Unreadable)):
            # What PostgreSQL itself objects to counts more than what the router cannot do.
            await self.runner.describe(statement.text, call.described.parameters if call.described else ())
            raise planned.plan
        started = time.perf_counter()
        try:
            return await self.runner.run(planned, planned.plan, call, portal)
        finally:
            planned.took(time.perf_counter() - started)

    def _planned(self, statement: Statement, call: Call, portal: Portal | None) -> Planned:
        plans = self.router.plans
        if call.extended:
            prepared = portal.prepared if portal else None
            if prepared is None or not plans.fresh(prepared.planned):
                planned = plans.planned(statement, self.settings.path)
                if portal is not None:
                    portal.prepared = Prepared(planned, portal.prepared.described)
                return planned
            return prepared.planned
        known = plans.learned(statement, self.settings.path)
        call.slots = known.values
        return known.planned
