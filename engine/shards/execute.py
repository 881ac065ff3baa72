"""Runs a plan: sends a statement to its shards and brings their answers to the client as one."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from automator67.engine.shards.merge import sort_key
from automator67.engine.shards.plan.conditions import Condition
from automator67.engine.shards.plan.model import Concatenated, Gathered
from automator67.engine.shards.plan.statements import quoted
from automator67.engine.shards.plans import Described
from automator67.engine.shards.values import Call
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import Backend, ShardError

MAX_PULLED = 1 << 30
"""Bytes that one statement may bring to one shard."""

_QUIET = frozenset((b"1", b"2", b"n", b"3"))


class Output(Protocol):
    """Where an answer goes: messages, with back-pressure."""

    async def send(self, data: bytes) -> None:
        """Pass messages on; waits while the client is slow."""

    async def copied(self, backend: Backend) -> None:
        """Bring the client's COPY data to a shard, until it ends."""


class Shards(Protocol):
    """Lends connections: those of the client's transaction, or one for this statement alone."""

    def lend(self, shard: int) -> contextlib.AbstractAsyncContextManager[Backend]:
        """Lend the connection for a statement."""

    def apart(self, shard: int) -> contextlib.AbstractAsyncContextManager[Backend]:
        """Lend a connection on which temporary tables can be made and go away."""


@dataclass(slots=True)
class Tally:
    """What came back: the command tag, whether the client has it already, whether an error was passed on."""

    tag: str = ""
    passed: bool = False
    failed: bool = False


async def pass_through(backend: Backend, call: Call, out: Output) -> Tally:
    """Run a statement on one shard and forward what it answers, byte by byte. Raises ShardError if it vanishes."""
    backend.write(call.messages(backend))
    tally = Tally(passed=True)
    while True:
        item = await backend.read()
        kind = item[:1]
        if kind == b"Z":
            return tally
        if kind == b"C":
            tally.tag = m.tag_of(item)
        elif kind == b"E":
            tally.failed = True
        if kind == b"T" and (call.extended or call.rewritten):
            call.check(item)
            if not call.extended and call.described is not None:
                await out.send(m.row_description(call.described.fields or []))
        elif kind not in _QUIET and kind != b"S":
            await out.send(item)
        if kind == b"G":
            await out.copied(backend)


async def rows_of_all(
    plan: Concatenated, targets: Sequence[int], call: Call, described: Described, shards: Shards
) -> AsyncGenerator[bytes, None]:
    """Yield the rows of several shards, in runs of DataRow messages. Raises ShardError."""
    async with contextlib.AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(shards.lend(n)) for n in targets]
        readers = [_Reader(backend) for backend in backends]
        try:
            for backend in backends:
                backend.write(call.messages(backend))
            async for run in _limited(_merged(plan, readers, call, described), plan.limit):
                yield run
        finally:
            # Who stops early (an error, LIMIT, a client that went) ends the statement on the other shards too.
            await asyncio.shield(asyncio.gather(*(reader.finish() for reader in readers)))


async def _merged(
    plan: Concatenated, readers: Sequence[_Reader], call: Call, described: Described
) -> AsyncGenerator[bytes, None]:
    if not plan.order:
        for reader in readers:
            while (run := await reader.run()) is not None:
                yield run
        return
    fields = described.fields or []
    key = sort_key(plan.order, fields, call.formats(len(fields)))
    heads: list[tuple[object, int, bytes]] = []
    for n, reader in enumerate(readers):
        if (row := await reader.row()) is not None:
            heapq.heappush(heads, (key(row), n, row))
    batch: list[bytes] = []
    while heads:
        _, n, row = heads[0]
        batch.append(row)
        if len(batch) >= 64:
            yield b"".join(batch)
            batch.clear()
        following = readers[n].at_hand() or await readers[n].row()
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (key(following), n, following))
    if batch:
        yield b"".join(batch)


async def _limited(runs: AsyncIterator[bytes], limit: int | None) -> AsyncGenerator[bytes, None]:
    left = limit
    async for run in runs:
        if left is None:
            yield run
            continue
        rows = list(m.rows_of(run))[:left]
        left -= len(rows)
        if rows:
            yield b"".join(rows)
        if left == 0:
            return


class _Reader:
    """The rows of one shard's answer."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._rows: list[bytes] = []
        self._ended = False
        self._ready = False

    async def run(self) -> bytes | None:
        """Return the next run of rows, None after the last. Raises ShardError."""
        while not self._ended:
            item = await self._backend.read()
            kind = item[:1]
            if kind == b"D":
                return item
            if kind == b"E":
                self._ended = True
                raise ShardError(self._backend.shard, item)
            if kind in (b"C", b"I"):
                self._ended = True
            elif kind == b"Z":
                self._ended = self._ready = True
        return None

    def at_hand(self) -> bytes | None:
        """Return the next row if it has come."""
        return self._rows.pop() if self._rows else None

    async def row(self) -> bytes | None:
        """Return the next row, None after the last. Raises ShardError."""
        if not self._rows and (run := await self.run()) is not None:
            self._rows = list(m.rows_of(run))[::-1]
        return self.at_hand()

    async def finish(self) -> None:
        """Make the connection ready for the next statement."""
        if self._ready or self._backend.gone:
            return
        if not self._ended:
            await self._backend.cancel()
        with contextlib.suppress(ShardError):
            await self._backend.settle()


async def gather(
    plan: Gathered, call: Call, shards: Shards, default: int, targets: Callable[[Condition], list[int]], out: Output
) -> Tally:
    """Bring rows to the default shard and run the last step there. Raises ShardError, Refused."""
    async with shards.apart(default) as scratch:
        for fragment in plan.fragments:
            name = quoted(fragment.name)
            await scratch.run(f"CREATE TEMP TABLE {name} ON COMMIT DROP AS {fragment.select} WITH NO DATA")
            others = targets(fragment.where)
            if default in others:
                others.remove(default)
                await scratch.run(f"INSERT INTO pg_temp.{name} {fragment.select}")
            await _pull(fragment.select, f"COPY pg_temp.{name} FROM STDIN", others, shards, scratch)
            if fragment.primary:
                columns = ", ".join(quoted(c) for c in fragment.primary)
                await scratch.run(f"ALTER TABLE pg_temp.{name} ADD PRIMARY KEY ({columns})")
        return await pass_through(scratch, call.over_temporary(plan.final), out)


async def _pull(select: str, into: str, targets: Sequence[int], shards: Shards, scratch: Backend) -> None:
    if not targets:
        return
    async with contextlib.AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(shards.lend(n)) for n in targets]
        for backend in backends:
            backend.write(m.query(f"COPY ({select}) TO STDOUT"))
        scratch.write(m.query(into))
        pulled, trouble = 0, None
        open_backends = list(backends)
        for backend in backends:
            while (item := await backend.read())[:1] != b"Z":
                if item[:1] == b"d" and trouble is None:
                    pulled += len(item)
                    scratch.write(item)
                    await scratch.drain()
                elif item[:1] == b"E":
                    trouble = trouble or ShardError(backend.shard, item)
                if pulled > MAX_PULLED and trouble is None:
                    trouble = _too_much(scratch)
                    for other in open_backends:
                        await other.cancel()
            open_backends.remove(backend)
        scratch.write(m.message(b"f", m.cstring("stopped")) if trouble else m.COPY_DONE)
        try:
            await scratch.collect()
        except ShardError:
            if trouble is None:
                raise
        if trouble is not None:
            raise trouble


def _too_much(scratch: Backend) -> ShardError:
    text = f"the query would bring more than {MAX_PULLED >> 20} MiB to one shard"
    return ShardError(scratch.shard, m.error("54000", text, hint="Narrow it by conditions, or join by the shard key."))


async def fan(targets: Sequence[int], call: Call, shards: Shards, out: Output, *, copy: bool) -> Tally:
    """Run a statement on several shards, first all of them, then forward their rows; counts add up, or are one's."""
    total = Tally()
    async with contextlib.AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(shards.lend(n)) for n in targets]
        for backend in backends:
            backend.write(call.messages(backend))
        first_error: bytes = b""
        tags: list[str] = []
        for n, backend in enumerate(backends):
            while (item := await backend.read())[:1] != b"Z":
                if item[:1] == b"E":
                    first_error = first_error or item
                elif item[:1] == b"C":
                    tags.append(m.tag_of(item))
                elif (item[:1] == b"T" and not call.extended and n == 0) or (
                    item[:1] == b"D" and not first_error and (n == 0 or not copy)
                ):
                    await out.send(item)
        if first_error:
            raise ShardError("", first_error)
        total.tag = tags[0] if copy or not tags else added(tags)
    return total


def added(tags: Sequence[str]) -> str:
    """Return one command tag for several: the row counts add up."""
    words = tags[0].split(" ")
    if not words[-1].isdigit():
        return tags[0]
    return " ".join([*words[:-1], str(sum(int(tag.split(" ")[-1]) for tag in tags))])
