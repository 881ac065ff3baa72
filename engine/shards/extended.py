"""The extended protocol of one client: what it has prepared and bound, and its messages up to Sync or Flush."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automator67.engine.shards.control import ABORTED
from automator67.engine.shards.plan.model import Concatenated, Fan, Gathered, OneShard, Rows
from automator67.engine.shards.plan.statements import Statement, Unreadable, split
from automator67.engine.shards.plans import Described, Planned
from automator67.engine.shards.portals import HeldAnswer, Portal, Prepared
from automator67.engine.shards.transaction import Transaction
from automator67.engine.shards.values import Call
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import ShardError

if TYPE_CHECKING:
    from automator67.engine.shards.session import Session


class Extended:
    """Prepared statements and portals. ``skipping``: an error came, and nothing is answered until Sync."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.statements: dict[bytes, Prepared] = {}
        self.skipping = False
        self._portals: dict[bytes, Portal] = {}

    def deallocate(self, name: str | None) -> None:
        """Forget a prepared statement, or all of them. Raises ShardError."""
        if name is None:
            self.statements.clear()
        elif self.statements.pop(name.encode(), None) is None:
            raise ShardError("", m.error("26000", f'prepared statement "{name}" does not exist'))

    async def answer(self, items: list[bytes]) -> None:
        """Answer all messages up to a Sync or Flush: several Executes are one transaction, as in PostgreSQL."""
        executes = sum(item[:1] == b"E" for item in items)
        ends = items[-1][:1] == b"S"
        if self._session.connections.transaction is None and executes and (executes > 1 or not ends):
            self._session.connections.transaction = Transaction("BEGIN", implicit=True)
        failed = self.skipping
        for item in items[:-1]:
            if failed:
                break
            failed = not await self._session.guarded(self._extended(item[:1], item[5:]))
        self.skipping = failed and not ends
        if not ends:
            await self._session.channel.drain()
            return
        if self._session.connections.transaction is not None and self._session.connections.transaction.implicit:
            await self._session.guarded(
                self._session.connections.end(commit=not failed and not self._session.connections.transaction.failed)
            )
        if self._session.connections.transaction is None:
            self._portals.clear()
        await self._session.send(m.ready(self._session.status))

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
                    await self._session.send(m.CLOSE_COMPLETE)
        except m.Malformed as trouble:
            raise ShardError("", m.error("08P01", str(trouble))) from trouble
        return True

    async def _parse(self, name: bytes, text: str, oids: tuple[int, ...]) -> None:
        if name and name in self.statements:
            raise ShardError("", m.error("42P05", f'prepared statement "{name.decode()}" already exists'))
        try:
            statements = split(text)
        except Unreadable:
            await self._session.unreadable(text)
            return
        if len(statements) > 1:
            raise ShardError("", m.error("42601", "cannot insert multiple commands into a prepared statement"))
        if not statements:
            self.statements[name] = Prepared(Planned(Statement("", "session", ()), OneShard("")), Described((), None))
        else:
            statement = statements[0]
            controlled = self._session.control.fields(statement)
            if controlled is not None:
                planned = Planned(statement, OneShard("the router answers this itself"))
                self.statements[name] = Prepared(planned, controlled)
            else:
                if self._session.connections.transaction is not None and self._session.connections.transaction.failed:
                    raise ShardError("", ABORTED)
                planned = self._session.router.plans.planned(statement, self._session.settings.path)
                if oids not in planned.described:
                    planned.described[oids] = await self._session.runner.describe(statement.text, oids)
                self.statements[name] = Prepared(planned, planned.described[oids])
        await self._session.send(m.PARSE_COMPLETE)

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
        await self._session.send(m.BIND_COMPLETE)

    async def _describe(self, kind: bytes, name: bytes) -> None:
        if kind == b"S":
            prepared = self.statements.get(name)
            if prepared is None:
                raise ShardError("", m.error("26000", f'prepared statement "{name.decode()}" does not exist'))
            oids = prepared.described.parameters
            body = len(oids).to_bytes(2, "big") + b"".join(oid.to_bytes(4, "big") for oid in oids)
            await self._session.send(m.message(b"t", body))
            formats: tuple[int, ...] = ()
        else:
            prepared, formats = self._portal(name).prepared, self._portal(name).bound.results
        fields = prepared.described.fields
        await self._session.send(m.NO_DATA if fields is None else m.row_description(fields, formats))

    def _portal(self, name: bytes) -> Portal:
        if name not in self._portals:
            raise ShardError("", m.error("34000", f'portal "{name.decode("utf-8", "replace")}" does not exist'))
        return self._portals[name]

    async def _execute(self, name: bytes, limit: int) -> bool:
        portal = self._portal(name)
        statement = portal.prepared.planned.statement
        if not statement.tokens:
            await self._session.send(m.EMPTY_QUERY)
            return True
        call = Call(statement.text, portal.bound, portal.prepared.described, limit)
        if limit and self._on_many(portal.prepared.planned.plan):
            call.limit = 0
            return await self._limited(portal, call, limit)
        return await self._session.answer(statement, call, portal)

    @staticmethod
    def _on_many(plan: object) -> bool:
        return isinstance(plan, (Concatenated, Gathered, Fan, Rows)) or (
            isinstance(plan, OneShard) and plan.otherwise is not None
        )

    async def _limited(self, portal: Portal, call: Call, limit: int) -> bool:
        """Answer an Execute for some rows where several shards have them: the rest waits in the portal."""
        if portal.rows is None:
            held = HeldAnswer(self._session)
            self._session.runner.out = held
            try:
                if not await self._session.answer(portal.prepared.planned.statement, call):
                    await self._session.send(b"".join(held.others))
                    return False
            finally:
                self._session.runner.out = self._session
            portal.rows, portal.tag = held.rows, held.tag
        now, portal.rows = portal.rows[:limit], portal.rows[limit:]
        await self._session.send(b"".join(now))
        await self._session.send(m.SUSPENDED if portal.rows else m.complete(portal.tag))
        return True
