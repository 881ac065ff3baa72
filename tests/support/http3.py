"""One request over HTTP/3 (RFC 9114), by aioquic: what a browser does after it was offered ``h3``."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


def get(port: int, host: str, path: str, authority: str) -> Answer:
    """Ask ``https://HOST:PORT/PATH`` on this machine, trusting the PEM certificate ``authority`` alone.

    Raises ConnectionError when the connection cannot be made or ends early.
    """
    return asyncio.run(asyncio.wait_for(_get(port, host, path, authority), 30))


async def _get(port: int, host: str, path: str, authority: str) -> Answer:
    options = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=host, cadata=authority.encode())
    async with connect("127.0.0.1", port, configuration=options, create_protocol=_Client) as client:
        assert isinstance(client, _Client)
        return await client.ask(host, path)


class _Client(QuicConnectionProtocol):
    _answer: asyncio.Future[Answer]
    _status = 0
    _body = b""

    async def ask(self, host: str, path: str) -> Answer:
        self._h3 = H3Connection(self._quic)
        self._answer = self._loop.create_future()
        stream = self._quic.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "https", ":authority": host, ":path": path}
        self._h3.send_headers(stream, [(k.encode(), v.encode()) for k, v in head.items()], end_stream=True)
        self.transmit()
        return await self._answer

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated) and hasattr(self, "_answer") and not self._answer.done():
            self._answer.set_exception(ConnectionError(event.reason_phrase))
        for e in self._h3.handle_event(event) if hasattr(self, "_h3") else ():
            if isinstance(e, HeadersReceived):
                self._status = int(dict(e.headers)[b":status"])
            elif isinstance(e, DataReceived):
                self._body += e.data
            if isinstance(e, HeadersReceived | DataReceived) and e.stream_ended:
                self._answer.set_result(Answer(self._status, self._body))
