"""What a client has prepared and bound, and answers that wait to be taken piece by piece."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from automator67.engine.shards.execute import Output
from automator67.engine.shards.plan.conditions import Keys
from automator67.engine.shards.plan.place import only_key
from automator67.engine.shards.plans import Described, Planned
from automator67.engine.shards.values import statement_name
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import Backend


@dataclass(slots=True)
class Prepared:
    """A statement the client has prepared: ``name`` on the shards; ``key`` where one parameter alone places it."""

    planned: Planned
    described: Described
    name: bytes = b""
    key: tuple[Keys, int] | None = None
    _told: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Work out what every execution needs."""
        self.name = statement_name(self.planned.statement.text, self.described.parameters)
        self.key = only_key(self.planned.plan)

    def told(self, results: bytes) -> bytes:
        """Return what Describe of a portal answers, for the end of its Bind. Raises Malformed."""
        found = self._told.get(results)
        if found is None:
            fields = self.described.fields
            formats = struct.unpack(f">{len(results) // 2 - 1}h", results[2:])
            found = m.NO_DATA if fields is None else m.row_description(fields, formats)
            if len(self._told) < 4:
                self._told[results] = found
        return found


@dataclass(slots=True)
class Portal:
    """A bound statement; ``rows`` are those of several shards that a limited Execute has left."""

    prepared: Prepared
    bound: m.Bind
    backend: Backend | None = None
    rows: list[bytes] | None = None
    tag: str = ""


class HeldAnswer:
    """Takes an answer in place of the client, to be passed on piece by piece."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self.rows: list[bytes] = []
        self.others: list[bytes] = []
        self.tag = ""

    async def send(self, data: bytes) -> None:
        """Keep messages."""
        for message in m.rows_of(data):
            if message[:1] == b"D":
                self.rows.append(message)
            elif message[:1] == b"C":
                self.tag = m.tag_of(message)
            else:
                self.others.append(message)

    async def copied(self, backend: Backend) -> None:
        """Pass on what the client copies in."""
        await self._out.copied(backend)
