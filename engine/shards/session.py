"""One client: its settings, transaction, prepared statements and portals; answers each of its messages."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable

from automator67.engine.shards.connections import Connections
from automator67.engine.shards.control import ABORTED, ControlStatements
from automator67.engine.shards.express import Express
from automator67.engine.shards.plan.model import Concatenated, Fan, Gathered, OneShard, Refused, Rows
from automator67.engine.shards.plan.statements import Statement, Unreadable, split
from automator67.engine.shards.plans import Described, Planned
from automator67.engine.shards.portals import HeldAnswer, Portal, Prepared
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
        self._skipping = False
        self.at_rest = False
        self.statements: dict[bytes, Prepared] = {}
        self._portals: dict[bytes, Portal] = {}
        self._control = ControlStatements(self)
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
                self.at_rest = not batch and not self._skipping
                item = await self.channel.read()
                self.at_rest = False
                kind = item[:1]
                if kind == b"X":
                    return
                if kind == b"Q":
                    await self._simple(item)
                elif kind in (b"S", b"H"):
                    await self._batch([*batch, item])
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
            await self._guarded(self._unreadable(text))
            await self.send(m.ready(self.status))
            return
        if not statements:
            self.channel.write(m.EMPTY_QUERY)
        many = len(statements) > 1 and self.connections.transaction is None
        if many:
            self.connections.transaction = Transaction("BEGIN", implicit=True)
        for statement in statements:
            if not await self._guarded(self._answer(statement, Call(statement.text))):
                break
        if self.connections.transaction is not None and self.connections.transaction.implicit:
            await self._guarded(self.connections.end(commit=not self.connections.transaction.failed))
        await self.send(m.ready(self.status))

    async def _guarded(self, work: Awaitable[bool | None]) -> bool:
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

    async def _unreadable(self, text: str) -> None:
        """Let PostgreSQL say what is wrong with a text; if nothing is, the router says what it cannot do."""
        await self.runner.describe(text, ())
        raise Refused("the router does not understand this statement")

    # Any statement

    async def _answer(self, statement: Statement, call: Call, portal: Portal | None = None) -> bool:
        """Answer one statement; False when an error was passed on. Raises ShardError, Refused."""
        self.doing = statement.text
        if await self._control.answer(statement):
            return True
        transaction = self.connections.transaction
        if transaction is not None and transaction.failed:
            raise ShardError("", ABORTED)
        planned = self._planned(statement, call, portal)
        if isinstance(planned.plan, Unreadable):
            await self._unreadable(statement.text)
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

    def deallocate(self, name: str | None) -> None:
        """Forget a prepared statement, or all of them. Raises ShardError."""
        if name is None:
            self.statements.clear()
        elif self.statements.pop(name.encode(), None) is None:
            raise ShardError("", m.error("26000", f'prepared statement "{name}" does not exist'))

    # The extended protocol

    async def _batch(self, items: list[bytes]) -> None:
        """Answer all messages up to a Sync or Flush: several Executes are one transaction, as in PostgreSQL."""
        executes = sum(item[:1] == b"E" for item in items)
        ends = items[-1][:1] == b"S"
        if self.connections.transaction is None and executes and (executes > 1 or not ends):
            self.connections.transaction = Transaction("BEGIN", implicit=True)
        failed = self._skipping
        for item in items[:-1]:
            if failed:
                break
            failed = not await self._guarded(self._extended(item[:1], item[5:]))
        self._skipping = failed and not ends
        if not ends:
            await self.channel.drain()
            return
        if self.connections.transaction is not None and self.connections.transaction.implicit:
            await self._guarded(self.connections.end(commit=not failed and not self.connections.transaction.failed))
        if self.connections.transaction is None:
            self._portals.clear()
        await self.send(m.ready(self.status))

    async def _extended(self, kind: bytes, body: bytes) -> bool:
        try:
            match kind:
                case b"P":
                    await self._parse(*m.read_parse(body))
                case b"B":
                    await self._bind(m.read_bind(body))
                case b"D":
                    await self._describe(body[:1], body[1:-1])
                case b"E":
                    end = body.index(0)
                    return await self._execute(body[:end], int.from_bytes(body[end + 1 : end + 5], "big"))
                case b"C":
                    (self.statements if body[:1] == b"S" else self._portals).pop(body[1:-1], None)
                    await self.send(m.CLOSE_COMPLETE)
        except m.Malformed as trouble:
            raise ShardError("", m.error("08P01", str(trouble))) from trouble
        return True

    async def _parse(self, name: bytes, text: str, oids: tuple[int, ...]) -> None:
        if name and name in self.statements:
            raise ShardError("", m.error("42P05", f'prepared statement "{name.decode()}" already exists'))
        try:
            statements = split(text)
        except Unreadable:
            await self._unreadable(text)
            return
        if len(statements) > 1:
            raise ShardError("", m.error("42601", "cannot insert multiple commands into a prepared statement"))
        if not statements:
            self.statements[name] = Prepared(Planned(Statement("", "session", ()), OneShard("")), Described((), None))
        else:
            statement = statements[0]
            controlled = self._control.fields(statement)
            if controlled is not None:
                planned = Planned(statement, OneShard("the router answers this itself"))
                self.statements[name] = Prepared(planned, controlled)
            else:
                if self.connections.transaction is not None and self.connections.transaction.failed:
                    raise ShardError("", ABORTED)
                planned = self.router.plans.planned(statement, self.settings.path)
                if oids not in planned.described:
                    planned.described[oids] = await self.runner.describe(statement.text, oids)
                self.statements[name] = Prepared(planned, planned.described[oids])
        await self.send(m.PARSE_COMPLETE)

    async def _bind(self, bound: m.Bind) -> None:
        prepared = self.statements.get(bound.statement)
        if prepared is None:
            name = bound.statement.decode("utf-8", "replace")
            raise ShardError("", m.error("26000", f'prepared statement "{name}" does not exist'))
        if len(bound.values) != len(prepared.described.parameters):
            text = f"bind message supplies {len(bound.values)} parameters, " \
                   f"but it requires {len(prepared.described.parameters)}"  # fmt: skip
            raise ShardError("", m.error("08P01", text))
        m.formats_of(bound.results, len(prepared.described.fields or []))
        self._portals[bound.portal] = Portal(prepared, bound)
        await self.send(m.BIND_COMPLETE)

    async def _describe(self, kind: bytes, name: bytes) -> None:
        if kind == b"S":
            prepared = self.statements.get(name)
            if prepared is None:
                raise ShardError("", m.error("26000", f'prepared statement "{name.decode()}" does not exist'))
            oids = prepared.described.parameters
            body = len(oids).to_bytes(2, "big") + b"".join(oid.to_bytes(4, "big") for oid in oids)
            await self.send(m.message(b"t", body))
            formats: tuple[int, ...] = ()
        else:
            prepared, formats = self._portal(name).prepared, self._portal(name).bound.results
        fields = prepared.described.fields
        await self.send(m.NO_DATA if fields is None else m.row_description(fields, formats))

    def _portal(self, name: bytes) -> Portal:
        if name not in self._portals:
            raise ShardError("", m.error("34000", f'portal "{name.decode("utf-8", "replace")}" does not exist'))
        return self._portals[name]

    async def _execute(self, name: bytes, limit: int) -> bool:
        portal = self._portal(name)
        statement = portal.prepared.planned.statement
        if not statement.tokens:
            await self.send(m.EMPTY_QUERY)
            return True
        call = Call(statement.text, portal.bound, portal.prepared.described, limit)
        if limit and self._on_many(portal.prepared.planned.plan):
            call.limit = 0
            return await self._limited(portal, call, limit)
        return await self._answer(statement, call, portal)

    @staticmethod
    def _on_many(plan: object) -> bool:
        return isinstance(plan, (Concatenated, Gathered, Fan, Rows)) or (
            isinstance(plan, OneShard) and plan.otherwise is not None
        )

    async def _limited(self, portal: Portal, call: Call, limit: int) -> bool:
        """Answer an Execute for some rows where several shards have them: the rest waits in the portal."""
        if portal.rows is None:
            held = HeldAnswer(self)
            self.runner.out = held
            try:
                if not await self._answer(portal.prepared.planned.statement, call):
                    await self.send(b"".join(held.others))
                    return False
            finally:
                self.runner.out = self
            portal.rows, portal.tag = held.rows, held.tag
        now, portal.rows = portal.rows[:limit], portal.rows[limit:]
        await self.send(b"".join(now))
        await self.send(m.SUSPENDED if portal.rows else m.complete(portal.tag))
        return True
