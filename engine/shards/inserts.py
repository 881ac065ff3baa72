"""INSERT of several rows: each goes to its shard, what comes back is in the order the rows were written."""

from __future__ import annotations

import contextlib
from typing import Protocol

from automator67.engine.shards.connections import Connections
from automator67.engine.shards.execute import Output, Tally, added
from automator67.engine.shards.plan.conditions import Condition, Keys, shards_of
from automator67.engine.shards.plan.model import Refused, Rows
from automator67.engine.shards.values import Call
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import ShardError


class OneShardRunner(Protocol):
    """Runs a statement as it is on one shard."""

    async def on_shard(self, shard: int, call: Call) -> Tally:
        """Run it. Raises ShardError."""


async def insert_rows(runner: OneShardRunner, connections: Connections, plan: Rows, call: Call, out: Output) -> Tally:
    """Insert each row where its key belongs. Raises ShardError, Refused."""
    places = [_place(connections, condition, call) for condition in plan.where]
    shards = sorted(set(places))
    if len(shards) == 1:
        await connections.will_write(shards[0])
        return await runner.on_shard(shards[0], call)
    rows: dict[int, list[bytes]] = {shard: [] for shard in shards}
    tags: list[str] = []
    async with connections.all_or_nothing(set(shards)):
        async with contextlib.AsyncExitStack() as stack:
            backends = {shard: await stack.enter_async_context(connections.lend(shard)) for shard in shards}
            for shard, backend in backends.items():
                text = plan.head + ", ".join(r for r, p in zip(plan.rows, places, strict=True) if p == shard)
                backend.write(call.instead(text + plan.tail).messages(backend))
            head, trouble = b"", b""
            for shard, backend in backends.items():
                while (item := await backend.read())[:1] != b"Z":
                    if item[:1] == b"D":
                        rows[shard] += m.rows_of(item)
                    elif item[:1] == b"T":
                        head = item
                    elif item[:1] == b"C":
                        tags.append(m.tag_of(item))
                    elif item[:1] == b"E":
                        trouble = trouble or item
        if trouble:
            raise ShardError("", trouble)
    if head and not call.extended:
        await out.send(head)
    await out.send(b"".join(_in_order(places, rows)))
    return Tally(added(tags))


def _place(connections: Connections, condition: Condition, call: Call) -> int:
    assert isinstance(condition, Keys)
    names = ", ".join(condition.table.key)
    found = shards_of(condition, connections.router.layout, call.read())
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise Refused(
            f"no shard is declared for this value of {names} in {condition.table.name}, or it is NULL",
            "Add a range, a directory entry or a default to shards/.", "23514",
        )  # fmt: skip
    raise Refused(f"the value of {names} is none that rows of {condition.table.name} can be placed by", code="22P02")


def _in_order(places: list[int], rows: dict[int, list[bytes]]) -> list[bytes]:
    """Return the rows as they were written, where each gave one; else (ON CONFLICT) shard by shard."""
    if sum(map(len, rows.values())) < len(places):
        return [row for found in rows.values() for row in found]
    each = {shard: iter(found) for shard, found in rows.items()}
    return [next(each[place]) for place in places]
