"""Listens for PostgreSQL clients: TLS, login, cancel requests; each client gets a session."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import ssl
import struct
from dataclasses import dataclass, field

from automator67.engine.shards.router import Router
from automator67.engine.shards.session import Session
from automator67.engine.shards.settings import SessionSettings
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import ShardError
from automator67.engine.shards.wire.channel import Channel, Closed
from automator67.engine.shards.wire.scram import MECHANISM, ScramError, Server, Verifier

log = logging.getLogger("automator67.sql")

LOGIN_SECONDS = 30.0
MAX_STARTUP = 10_000
"""Bytes of a message before the login; PostgreSQL's own limit."""

_TOLD = (
    "server_version", "server_encoding", "client_encoding", "DateStyle", "IntervalStyle", "TimeZone",
    "integer_datetimes", "standard_conforming_strings", "in_hot_standby",
)  # fmt: skip


@dataclass(slots=True)
class Front:
    """The clients of one router. They log in as ``user`` with the password behind ``verifier``."""

    router: Router
    user: str
    verifier: Verifier
    tls: ssl.SSLContext | None = None
    max_clients: int = 500
    sessions: dict[int, Session] = field(default_factory=dict)
    _numbers: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self) -> Channel:
        """Make the channel of a new client and serve it."""
        return _Client(self)

    def begin(self, channel: Channel) -> None:
        """Serve a client that has connected."""
        task = asyncio.create_task(self._serve(channel))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if isinstance(channel, _Client):
            channel.task = task

    async def _serve(self, channel: Channel) -> None:
        session: Session | None = None
        try:
            try:
                async with asyncio.timeout(LOGIN_SECONDS):
                    settings = await self._log_in(channel)
            except TimeoutError:
                return
            if settings is None:
                return
            self._numbers += 1
            session = self.sessions[self._numbers] = Session(self.router, channel, settings, self._numbers)
            self._welcome(channel, session)
            await session.serve()
        except m.Malformed as trouble:
            channel.write(m.error("08P01", f"protocol violation: {trouble}", severity="FATAL"))
        except ShardError as trouble:
            channel.write(trouble.raw)
        except (Closed, ScramError, OSError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("a client's session ended")
            channel.write(m.error("XX000", "internal error; the router's log says more", severity="FATAL"))
        finally:
            if session is not None:
                self.sessions.pop(session.number, None)
                with contextlib.suppress(Exception):
                    await session.leave()
            channel.close()

    def _welcome(self, channel: Channel, session: Session) -> None:
        told = {"is_superuser": "off", "session_authorization": self.user,
                "application_name": session.settings.values.get("application_name", "")}  # fmt: skip
        told |= {name: self.router.parameters[name] for name in _TOLD if name in self.router.parameters}
        key = m.message(b"K", struct.pack(">i", session.number) + session.secret)
        channel.write(b"".join(m.parameter(k, v) for k, v in told.items()) + key + m.ready(b"I"))

    async def _log_in(self, channel: Channel) -> SessionSettings | None:
        while True:
            item = await channel.read()
            if len(item) < 8:
                raise m.Malformed("the startup message is cut short")
            code = struct.unpack_from(">i", item, 4)[0]
            if code == m.SSL_REQUEST:
                await self._offer_tls(channel)
            elif code == m.GSS_REQUEST:
                channel.write(b"N")
            elif code == m.CANCEL_REQUEST:
                await self._cancel(item)
                return None
            elif code >> 16 == 3:
                return await self._authenticate(channel, item, code)
            else:
                raise m.Malformed(f"protocol version {code >> 16}.{code & 0xFFFF} is not supported")

    async def _offer_tls(self, channel: Channel) -> None:
        if self.tls is None:
            channel.write(b"N")
            return
        if channel.early:
            raise m.Malformed("data came before the answer to the request for TLS")
        channel.write(b"S")
        await channel.start_tls(self.tls, server=True)

    async def _cancel(self, item: bytes) -> None:
        if len(item) != 16:
            return
        session = self.sessions.get(struct.unpack_from(">i", item, 8)[0])
        if session is not None and hmac.compare_digest(session.secret, item[12:16]):
            await session.cancel()

    async def _authenticate(self, channel: Channel, item: bytes, code: int) -> SessionSettings | None:
        words = item[8:].split(b"\0")
        given = {k.decode(): v.decode("utf-8", "replace") for k, v in zip(words[::2], words[1::2], strict=False) if k}
        channel.limit = MAX_STARTUP
        channel.started()
        extensions = [name for name in given if name.startswith("_pq_.")]
        if code != m.VERSION_3 or extensions:
            body = struct.pack(">ii", m.VERSION_3, len(extensions)) + b"".join(m.cstring(e) for e in extensions)
            channel.write(m.message(b"v", body))
        channel.write(m.message(b"R", struct.pack(">i", 10) + m.cstring(MECHANISM) + b"\0"))
        server = Server(self.verifier)
        try:
            first = await channel.read()
            end = first.index(0, 5)
            if first[:1] != b"p" or first[5:end] != MECHANISM.encode():
                raise ScramError("the client does not speak SCRAM-SHA-256")
            channel.write(m.message(b"R", struct.pack(">i", 11) + server.challenge(first[end + 5 :])))
            last = await channel.read()
            final = server.verify(last[5:])
            if not hmac.compare_digest(given.get("user", "").encode(), self.user.encode()):
                raise ScramError("there is no such user")
        except (ScramError, ValueError):
            text = f'password authentication failed for user "{given.get("user", "")}"'
            channel.write(m.error("28P01", text, severity="FATAL"))
            return None
        if given.get("database", given.get("user", "")) != self.router.layout.name:
            text = f'database "{given.get("database", "")}" does not exist'
            hint = f"The router has one database: {self.router.layout.name}."
            channel.write(m.error("3D000", text, hint=hint, severity="FATAL"))
            return None
        if len(self.sessions) >= self.max_clients:
            channel.write(m.error("53300", "sorry, too many clients already", severity="FATAL"))
            return None
        home = self.router.pools[self.router.layout.default].address.user
        settings = SessionSettings(given | {"user": home})
        channel.write(m.message(b"R", struct.pack(">i", 12) + final) + m.message(b"R", struct.pack(">i", 0)))
        channel.limit = 1 << 30
        return settings

    async def stop(self) -> None:
        """Tell all clients that this is the end."""
        for session in list(self.sessions.values()):
            session.channel.write(m.error("57P01", "the router is shutting down", severity="FATAL"))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Client(Channel):
    """The channel of a client: when it goes, what runs for it ends."""

    def __init__(self, front: Front) -> None:
        super().__init__(MAX_STARTUP, startup=True, bulk=False)
        self._front = front
        self._begun = False
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._begun:
            self._begun = True
            self._front.begin(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.task is not None:
            self.task.cancel()
