"""What a client has prepared and bound, and answers that wait to be taken piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

from automator67.engine.shards.execute import Output
from automator67.engine.shards.router import Described, Planned
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import Backend


@dataclass(slots=True)
class Prepared:
    """A statement the client has prepared."""

    planned: Planned
    described: Described


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
