"""A connection to a shard: login, statements of the router's own, cancelling."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.address import Address
from automator67.engine.shards.wire.channel import Channel, Closed
from automator67.engine.shards.wire.scram import MECHANISM, Client, ScramError

CONNECT_SECONDS = 15.0
"""A database that sleeps wakes within this."""


class ShardError(Exception):
    """A shard answered with an error, or cannot be reached. ``raw`` is the ErrorResponse to pass on."""

    def __init__(self, shard: str, raw: bytes) -> None:
        self.shard = shard
        self.raw = raw
        self.fields = m.error_fields(raw)
        super().__init__(f"shard {shard}: {self.fields.get('M', 'error')}")

    @property
    def code(self) -> str:
        """The SQLSTATE."""
        return self.fields.get("C", "XX000")


def unreachable(shard: str, why: object) -> ShardError:
    """Return the error of a shard that is down or has gone."""
    text = f"shard {shard} cannot be reached: {why}"
    return ShardError(shard, m.error("08006", text, hint="Nothing of this statement is answered without it."))


@dataclass(slots=True)
class Outcome:
    """What a statement of the router's own gave: columns, rows in text form, the command tag."""

    fields: list[m.Field] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    tag: str = ""


class Backend:
    """One logged-in connection. ``status`` is ReadyForQuery's; ``applied`` the session settings made on it.

    ``pooled``: behind it is a pooler, so nothing may be kept on the connection.
    """

    def __init__(self, shard: str, number: int, address: Address, *, pooled: bool = False) -> None:
        self.pooled = pooled
        self.shard = shard
        self.number = number
        self.address = address
        self.status = b"I"
        self.applied: dict[str, str] = {}
        self.prepared: dict[bytes, None] = {}
        self.parameters: dict[str, str] = {}
        self.broken = False
        self._channel = Channel()
        self._key = b""

    async def connect(self, settings: Mapping[str, str]) -> None:
        """Log in. Raises ShardError."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._channel = await self._open()
                await self._log_in(settings)
        except (OSError, ssl.SSLError, Closed, m.Malformed, ScramError) as trouble:
            self.close()
            why = "no answer in time" if isinstance(trouble, TimeoutError) else trouble
            raise unreachable(self.shard, why) from trouble
        except ShardError:
            self.close()
            raise

    async def _open(self) -> Channel:
        loop, address = asyncio.get_running_loop(), self.address
        if address.socket:
            return (await loop.create_unix_connection(Channel, address.socket))[1]
        if address.tls == "disable":
            return (await loop.create_connection(Channel, address.host, address.port))[1]
        channel = (await loop.create_connection(lambda: _Asking(), address.host, address.port))[1]
        if await channel.answer == b"S":
            await channel.start_tls(_context(address), server=False, name=address.host)
        elif address.tls != "prefer":
            channel.close()
            raise Closed(f"it does not offer TLS, which sslmode={address.tls} demands")
        return channel

    async def _log_in(self, settings: Mapping[str, str]) -> None:
        address = self.address
        given = {"user": address.user, "database": address.database, "client_encoding": "UTF8",
                 **({"options": address.options} if address.options else {}), **settings}  # fmt: skip
        body = struct.pack(">i", m.VERSION_3) + b"".join(m.cstring(k) + m.cstring(v) for k, v in given.items()) + b"\0"
        self._channel.write(struct.pack(">i", len(body) + 4) + body)
        scram: Client | None = None
        while True:
            item = await self._channel.read()
            match item[:1]:
                case b"R":
                    scram = self._authenticate(item, scram)
                case b"E":
                    raise ShardError(self.shard, item)
                case b"S":
                    self._learn(item)
                case b"K":
                    self._key = item[5:]
                case b"Z":
                    return

    def _authenticate(self, item: bytes, scram: Client | None) -> Client | None:
        kind, rest = struct.unpack_from(">i", item, 5)[0], item[9:]
        user, password = self.address.user.encode(), self.address.password.encode()
        if kind == 3:
            self._channel.write(m.message(b"p", m.cstring(password)))
        elif kind == 5:
            inner = hashlib.md5(password + user, usedforsecurity=False).hexdigest().encode()
            outer = hashlib.md5(inner + rest[:4], usedforsecurity=False).hexdigest()
            self._channel.write(m.message(b"p", m.cstring("md5" + outer)))
        elif kind == 10:
            if MECHANISM.encode() not in rest.split(b"\0"):
                raise ScramError("it offers no way to log in that the router knows")
            scram = Client(self.address.password)
            first = scram.first()
            body = m.cstring(MECHANISM) + struct.pack(">i", len(first)) + first
            self._channel.write(m.message(b"p", body))
        elif kind == 11 and scram is not None:
            self._channel.write(m.message(b"p", scram.prove(rest)))
        elif kind == 12 and scram is not None:
            scram.check(rest)
        elif kind != 0:
            raise ScramError(f"it wants a way to log in that the router does not know ({kind})")
        return scram

    def _learn(self, item: bytes) -> None:
        name, value = item[5:-1].decode("utf-8", "replace").split("\0", 1)
        self.parameters[name] = value

    @property
    def busy(self) -> bool:
        """Whether a statement has not been answered to its end, or never will be."""
        return self.gone or self.status == b"?"

    @property
    def gone(self) -> bool:
        """Whether the connection is of no more use."""
        return self.broken or self._channel.ended

    def write(self, data: bytes) -> None:
        """Send messages. Until ReadyForQuery the status is ``?``: then no one else may use the connection."""
        self.status = b"?"
        self._channel.write(data)

    @property
    def untouched(self) -> bool:
        """Whether it is idle, and has said nothing that no one has read."""
        return self.status == b"I" and not self.broken and not self._channel.ended and not self._channel.early

    def tap(self, take: Callable[[bytes], None] | None) -> None:
        """Let ``take`` have all bytes that come, uncut; nothing when the connection is lost. None: as before."""
        self._channel.tap = take

    def pause(self, paused: bool) -> None:
        """Read no more from the shard for now, or go on."""
        if not self._channel.ended:
            (self._channel.transport.pause_reading if paused else self._channel.transport.resume_reading)()

    async def drain(self) -> None:
        """Wait until the shard has taken most of what was written. Raises ShardError."""
        try:
            await self._channel.drain()
        except Closed as gone:
            self.broken = True
            raise unreachable(self.shard, gone) from gone

    async def read(self) -> bytes:
        """Return the next message or run of them. Raises ShardError when the connection is gone."""
        try:
            item = await self._channel.read()
        except (Closed, m.Malformed) as gone:
            self.broken = True
            raise unreachable(self.shard, gone) from gone
        if item[:1] == b"Z":
            self.status = item[5:6]
        elif item[:1] == b"S":
            self._learn(item)
        elif item[:1] == b"E":
            # It may have been a Parse that failed: what is prepared is asked anew.
            self.prepared.clear()
        return item

    async def run(self, sql: str) -> Outcome:
        """Run a statement of the router's own. Raises ShardError, with the connection ready for the next one."""
        self.write(m.query(sql))
        return await self.collect()

    async def ask(self, sql: str, tail: bytes, oids: tuple[int, ...] = ()) -> Outcome:
        """Run one statement with parameters: ``tail`` is as in Bind. Raises ShardError."""
        self.write(m.parse(b"", sql, oids) + m.bind(b"", b"", tail) + m.describe(b"P", b"") + m.execute(b"") + m.SYNC)
        return await self.collect()

    async def collect(self) -> Outcome:
        """Read up to ReadyForQuery. Raises ShardError for the first error in between."""
        outcome = Outcome()
        trouble: ShardError | None = None
        while (item := await self.read())[:1] != b"Z":
            match item[:1]:
                case b"T":
                    outcome.fields = m.fields_of(item)
                case b"D":
                    outcome.rows += (
                        [None if v is None else v.decode() for v in m.values_of(row)] for row in m.rows_of(item)
                    )
                case b"C":
                    outcome.tag = m.tag_of(item)
                case b"E":
                    trouble = trouble or ShardError(self.shard, item)
        if trouble is not None:
            raise trouble
        return outcome

    async def settle(self) -> None:
        """Read and drop everything up to ReadyForQuery. Raises ShardError when the connection is gone."""
        while (await self.read())[:1] != b"Z":
            pass

    async def cancel(self) -> None:
        """Ask the shard to end what this connection runs; best effort, as in the protocol."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                channel = await self._open()
                channel.write(struct.pack(">ii", len(self._key) + 8, m.CANCEL_REQUEST) + self._key)
                channel.transport.close()
        except (OSError, Closed, m.Malformed, ssl.SSLError):
            return

    def close(self) -> None:
        """Leave."""
        self.broken = True
        if hasattr(self._channel, "transport"):
            self._channel.write(m.TERMINATE)
        self._channel.close()


class _Asking(Channel):
    """A connection whose first byte from the server answers whether it speaks TLS."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self.answer.done():
            self.write(struct.pack(">ii", 8, m.SSL_REQUEST))

    def data_received(self, data: bytes) -> None:
        if self.answer.done():
            super().data_received(data)
        elif len(data) == 1:
            self.answer.set_result(data)
        else:
            # Bytes after the answer, in clear text, may be anyone's.
            self.answer.set_exception(Closed("it answers the request for TLS with more than one byte"))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.answer.done():
            self.answer.set_exception(Closed(str(exc or "the connection was closed")))


def _context(address: Address) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=address.ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if address.tls != "verify-full":
        context.check_hostname = False
    if address.tls in ("prefer", "require"):
        context.verify_mode = ssl.CERT_NONE
    return context
