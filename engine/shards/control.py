"""Statements about the session: transactions, settings, prepared statements. The router answers them itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automator67.engine.shards.plan.model import Refused
from automator67.engine.shards.plan.statements import Statement, literal
from automator67.engine.shards.plans import Described
from automator67.engine.shards.transaction import Transaction
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import ShardError

if TYPE_CHECKING:
    from automator67.engine.shards.session import Session

ABORTED = m.error("25P02", "current transaction is aborted, commands ignored until end of transaction block")
_NO_TRANSACTION = m.message(b"N", m.error("25P01", "there is no transaction in progress", severity="WARNING")[5:])
_IN_TRANSACTION = m.message(
    b"N", m.error("25001", "there is already a transaction in progress", severity="WARNING")[5:]
)


class ControlStatements:
    """Answers the statements about one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def fields(self, statement: Statement) -> Described | None:
        """Return what such a statement looks like before it runs; None for any other."""
        return Described((), None) if self._known(statement) else None

    @staticmethod
    def _known(statement: Statement) -> bool:
        if statement.kind == "set":
            return statement.word(0) != "SHOW"
        return statement.kind in ("begin", "end", "savepoint") or statement.word(0) in ("DISCARD", "DEALLOCATE")

    async def answer(self, statement: Statement) -> bool:
        """Answer a statement about the session; False for any other. Raises ShardError, Refused."""
        if not self._known(statement):
            return False
        transaction = self._session.connections.transaction
        first = statement.word(0)
        if statement.kind == "begin":
            await self._begin(statement)
        elif statement.kind == "end":
            await self._end(statement)
        elif transaction is not None and transaction.failed:
            raise ShardError("", ABORTED)
        elif statement.kind == "savepoint":
            await self._savepoint(statement, first)
        elif first in ("DISCARD", "DEALLOCATE"):
            await self._discard(statement)
        elif first == "RESET":
            self._session.settings.reset("".join(t.text for t in statement.tokens[1:]))
            await self._changed("RESET")
        else:
            await self._set(statement)
        return True

    async def _begin(self, statement: Statement) -> None:
        session = self._session
        tag = "BEGIN" if statement.word(0) == "BEGIN" else "START TRANSACTION"
        if "SERIALIZABLE" in {t.text.upper() for t in statement.tokens}:
            raise Refused("SERIALIZABLE cannot be kept over several shards", "Use REPEATABLE READ.")
        if session.connections.transaction is not None and not session.connections.transaction.implicit:
            await session.send(_IN_TRANSACTION)
        elif session.connections.transaction is not None:
            session.connections.transaction.implicit = False
        else:
            session.connections.transaction = Transaction(statement.text, best_effort=session.settings.best_effort)
        await session.send(m.complete(tag))

    async def _end(self, statement: Statement) -> None:
        session = self._session
        words = [t.text.upper() for t in statement.tokens]
        if "TO" in words:
            await self._savepoint(statement, "ROLLBACK TO")
            return
        if "PREPARED" in words or "CHAIN" in words:
            raise Refused(f"{' '.join(words[:2])} cannot be used through the router")
        commit = words[0] in ("COMMIT", "END")
        if session.connections.transaction is None:
            await session.send(_NO_TRANSACTION)
        else:
            commit = commit and not session.connections.transaction.failed
            await session.connections.end(commit=commit)
        await session.send(m.complete("COMMIT" if commit else "ROLLBACK"))

    async def _savepoint(self, statement: Statement, first: str) -> None:
        transaction = self._session.connections.transaction
        if transaction is None or transaction.implicit:
            text = f"{first} can only be used in transaction blocks"
            raise ShardError("", m.error("25P01", text))
        await transaction.everywhere(statement.text)
        if first == "ROLLBACK TO":
            transaction.failed = False
            first = "ROLLBACK"
        await self._session.send(m.complete(first))

    async def _discard(self, statement: Statement) -> None:
        session = self._session
        if statement.word(0) == "DEALLOCATE":
            name = statement.tokens[-1].text
            session.extended.deallocate(None if name.upper() == "ALL" else name)
            await session.send(m.complete("DEALLOCATE ALL" if name.upper() == "ALL" else "DEALLOCATE"))
            return
        if statement.word(1) == "ALL":
            session.settings.reset("all")
            session.extended.deallocate(None)
        await session.send(m.complete(f"DISCARD {statement.word(1)}"))

    async def _set(self, statement: Statement) -> None:
        session = self._session
        words = [t.text for t in statement.tokens]
        rest = [w.upper() for w in words[1:3]]
        if rest[0] in ("TRANSACTION", "CONSTRAINTS") or rest == ["SESSION", "CHARACTERISTICS"]:
            await self._set_transaction(statement, rest[0])
            return
        if rest[0] in ("ROLE", "SESSION AUTHORIZATION") or rest == ["SESSION", "AUTHORIZATION"]:
            raise Refused(f"SET {rest[0]} cannot be used through the router: connections are shared")
        scope = rest[0] if rest[0] in ("LOCAL", "SESSION") else ""
        name = self._name(words[2 if scope else 1 :])
        if scope == "LOCAL" and name == "search_path":
            raise Refused("SET LOCAL search_path cannot be used through the router", "Use SET search_path.")
        if scope == "LOCAL":
            if session.connections.transaction is None:
                await session.send(m.message(b"N", m.error(
                    "25P01", "SET LOCAL can only be used in transaction blocks", severity="WARNING")[5:]))  # fmt: skip
            else:
                await session.connections.transaction.everywhere(statement.text)
        else:
            await self._set_on_one(statement, name)
        await self._changed("SET")

    @staticmethod
    def _name(words: list[str]) -> str:
        if [w.upper() for w in words[:2]] == ["TIME", "ZONE"]:
            return "timezone"
        end = next((n for n, w in enumerate(words) if w.upper() in ("=", "TO")), len(words))
        return "".join(words[:end]).lower()

    async def _set_transaction(self, statement: Statement, what: str) -> None:
        transaction = self._session.connections.transaction
        if "SERIALIZABLE" in statement.text.upper() or what == "SESSION":
            raise Refused("this cannot be kept over several shards", "Write it after BEGIN.")
        if transaction is not None:
            await transaction.everywhere(statement.text)
        await self._session.send(m.complete("SET" if what == "TRANSACTION" else "SET CONSTRAINTS"))

    async def _set_on_one(self, statement: Statement, name: str) -> None:
        """Let a shard check the value; what it then shows is the value for all."""
        session = self._session
        transaction = session.connections.transaction
        if transaction is not None and transaction.settings_before is None:
            transaction.settings_before = dict(session.settings.values)
        async with session.connections.lend(session.connections.default) as backend:
            await backend.run(statement.text)
            shown = await backend.run(f"SELECT current_setting({literal(name)})")
            value = str(shown.rows[0][0])
            before = session.settings.values.get(name)
            try:
                session.settings.set(name, value)
            except ShardError:
                backend.applied[name] = value
                await session.settings.apply(backend)
                raise
            backend.applied[name] = value
            if before != value and name in _REPORTED:
                shown_name = _REPORTED[name]
                await session.send(m.parameter(shown_name, backend.parameters.get(shown_name, value)))
        if transaction is not None:
            others = [b for b in transaction.backends.values() if b.applied.get(name) != value]
            for backend in others:
                await backend.run(statement.text)
                backend.applied[name] = value

    async def _changed(self, tag: str) -> None:
        await self._session.send(m.complete(tag))


_REPORTED = {
    "datestyle": "DateStyle", "timezone": "TimeZone", "intervalstyle": "IntervalStyle",
    "application_name": "application_name", "search_path": "search_path",
}  # fmt: skip
"""Settings whose change clients are told, by the name they are told."""
