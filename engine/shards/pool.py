"""The connections to the shards: few, shared by all clients, each lent for one transaction."""

from __future__ import annotations

import asyncio
from collections import deque

from automator67.engine.breaker import Breaker, BreakerOpen
from automator67.engine.circuit import Policy
from automator67.engine.shards.layout import Shard
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.address import Address
from automator67.engine.shards.wire.backend import Backend, ShardError, unreachable

WAIT_SECONDS = 30.0
"""How long a statement waits for one of the connections that the shard allows."""
POLICY = Policy(failures=3, window=60.0, first=1.0, longest=5.0, patience=15.0)
"""When a shard that cannot be reached is left alone: statements that need it are answered at once meanwhile."""


_DOWN = frozenset({"08006", "57P03"})
"""SQLSTATEs of a shard that cannot be reached, or is only starting."""


class Pool:
    """The connections to one shard, never more than it allows."""

    def __init__(self, shard: Shard, number: int, address: Address, breaker: Breaker) -> None:
        self.shard = shard
        self._breaker = breaker
        self.number = number
        self.address = address
        self._idle: deque[Backend] = deque()
        self._open = 0
        self._ending: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()

    def at_once(self) -> Backend | None:
        """Lend a connection that is idle, if there is one and nobody waits."""
        while self._idle and not self._waiting:
            backend = self._idle.pop()
            if backend.untouched:
                return backend
            self._forget(backend)
        return None

    async def take(self) -> Backend:
        """Lend a connection. Raises ShardError when none can be had in time."""
        while True:
            while self._idle:
                backend = self._idle.pop()
                if not backend.gone:
                    return backend
                self._forget(backend)
            if self._open < self.shard.connections:
                return await self._connect()
            await self._wait()

    async def _connect(self) -> Backend:
        self._open += 1
        backend = Backend(self.shard.name, self.number, self.address, pooled=self.shard.pooled)
        try:
            with self._breaker.call(lambda error: isinstance(error, ShardError) and error.code in _DOWN):
                await backend.connect({"application_name": "automator67 sql"})
        except BreakerOpen as error:
            self._forget(backend)
            raise unreachable(self.shard.name, error) from None
        except BaseException:
            self._forget(backend)
            raise
        return backend

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(turn, WAIT_SECONDS)
        except TimeoutError:
            text = f"all {self.shard.connections} connections to shard {self.shard.name} are in use"
            hint = "Raise its connections in shards/, or keep transactions short."
            raise ShardError(self.shard.name, m.error("53300", text, hint=hint)) from None
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif turn.cancelled():
                self._next()

    def give(self, backend: Backend) -> None:
        """Take a connection back; one that is not idle, or broken, is closed, and what still runs there ends."""
        if backend.status == b"?" and not backend.gone:
            task = asyncio.create_task(self._abandon(backend))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            return
        if backend.gone or backend.status != b"I":
            self._forget(backend)
            return
        self._idle.append(backend)
        self._next()

    async def _abandon(self, backend: Backend) -> None:
        await backend.cancel()
        self._forget(backend)

    def _forget(self, backend: Backend) -> None:
        backend.close()
        self._open -= 1
        self._next()

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def close(self) -> None:
        """Close what is idle; what is lent is closed by who has it."""
        while self._idle:
            self._idle.pop().close()
