"""The connections one client uses: those of its transaction, or one lent for a statement."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

from automator67.engine.shards.router import Router
from automator67.engine.shards.settings import SessionSettings
from automator67.engine.shards.transaction import Transaction
from automator67.engine.shards.wire.backend import Backend, ShardError


class Connections:
    """Lends connections to one client's statements, with its settings made on them."""

    def __init__(self, router: Router, settings: SessionSettings) -> None:
        self.router = router
        self.settings = settings
        self.transaction: Transaction | None = None
        self._active: set[Backend] = set()

    @property
    def default(self) -> int:
        """The shard of all tables that are not declared."""
        return self.router.layout.default

    async def leave(self) -> None:
        """Undo what is open; also when the client vanished in the midst of a statement."""
        if self.transaction is not None:
            await self.end(commit=False)

    async def cancel(self) -> None:
        """End what runs now, on every shard it runs on."""
        for backend in list(self._active):
            await backend.cancel()

    @contextlib.asynccontextmanager
    async def lend(self, shard: int) -> AsyncIterator[Backend]:
        """Lend the connection for a statement: the transaction's, or one for it alone. Raises ShardError."""
        if self.transaction is not None:
            backend = await self.transaction.join(shard, self._take)
            with self._running(backend):
                yield backend
            return
        backend = await self._take(shard)
        try:
            with self._running(backend):
                yield backend
        finally:
            self.router.pools[shard].give(backend)

    @contextlib.asynccontextmanager
    async def apart(self, shard: int) -> AsyncIterator[Backend]:
        """Lend a connection on which temporary tables can be made, and which go away at the end. Raises ShardError.

        Where the client's transaction has changed something, it is the transaction's, so that the changes are seen.
        """
        if self.transaction is not None and self.transaction.wrote:
            async with self.lend(shard) as backend:
                await backend.run("SAVEPOINT automator67_gather")
                try:
                    yield backend
                finally:
                    if not backend.busy:
                        await backend.run("ROLLBACK TO SAVEPOINT automator67_gather")
            return
        backend = await self._take(shard)
        try:
            await backend.run("BEGIN READ WRITE")
            with self._running(backend):
                yield backend
        finally:
            if not backend.busy:
                with contextlib.suppress(ShardError):
                    await backend.run("ROLLBACK")
            self.router.pools[shard].give(backend)

    @contextlib.contextmanager
    def _running(self, backend: Backend) -> Iterator[None]:
        self._active.add(backend)
        try:
            yield
        finally:
            self._active.discard(backend)

    async def _take(self, shard: int) -> Backend:
        backend = await self.router.pools[shard].take()
        try:
            await self.settings.apply(backend)
        except BaseException:
            self.router.pools[shard].give(backend)
            raise
        return backend

    async def will_write(self, shard: int) -> None:
        """Take note that the client's transaction, if there is one, changes a shard. Raises ShardError, Refused."""
        if self.transaction is not None:
            await self.transaction.join(shard, self._take)
            await self.transaction.will_write({shard})

    @contextlib.asynccontextmanager
    async def all_or_nothing(self, shards: set[int], *, ddl: bool = False) -> AsyncIterator[None]:
        """Make what is done inside happen on all of several shards, or on none. Raises Refused, ShardError."""
        alone = self.transaction is None
        if alone and len(shards) == 1:
            yield
            return
        if self.transaction is None:
            self.transaction = Transaction("BEGIN", implicit=True, best_effort=self.settings.best_effort)
        transaction = self.transaction
        try:
            for shard in sorted(shards):
                await transaction.join(shard, self._take)
            await transaction.will_write(shards, ddl=ddl)
            yield
        except BaseException:
            if alone:
                await self.end(commit=False)
            raise
        if alone:
            await self.end(commit=True)

    async def end(self, *, commit: bool) -> None:
        """End the transaction on all shards and give the connections back. Raises ShardError."""
        transaction, self.transaction = self.transaction, None
        assert transaction is not None
        try:
            if commit and not transaction.failed:
                await transaction.commit(self.router.journal)
        finally:
            await transaction.roll_back()
            if transaction.settings_before is not None and (transaction.failed or not commit):
                # The shards have taken the settings back; what these connections have now is not worth finding out.
                self.settings.values = transaction.settings_before
                for backend in transaction.backends.values():
                    backend.close()
            for shard, backend in transaction.backends.items():
                self.router.pools[shard].give(backend)
