"""A small HTTP/1.1 server for Caddy's questions: a head of at most 64 KiB in, a short answer out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

LONGEST_HEAD = 64 * 1024
IDLE_SECONDS = 120.0


class Asked(NamedTuple):
    """A request: its target as it came, its headers with names in lower case (of several, the last)."""

    target: str
    headers: Mapping[str, str]


class Reply(NamedTuple):
    """An answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


Answer = Callable[[Asked], Awaitable[Reply]]


async def serve_http(answer: Answer, host: str, port: int) -> asyncio.Server:
    """Listen and answer until the server is closed. Raises OSError when the address is taken."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled at the end of the process: nobody waits for this task.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError, asyncio.CancelledError):
            await _converse(reader, writer, answer)
        writer.close()

    return await asyncio.start_server(connection, host, port, limit=LONGEST_HEAD)


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    while True:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_SECONDS)
        except asyncio.LimitOverrunError:
            writer.write(_bytes(Reply(431)))
            return
        asked = _parse(head)
        if asked is None:
            writer.write(_bytes(Reply(400)))
            return
        writer.write(_bytes(await answer(asked)))
        await writer.drain()
        if asked.headers.get("connection", "").lower() == "close":
            return


def _parse(head: bytes) -> Asked | None:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[0] != "GET" or not words[2].startswith("HTTP/1."):
        return None
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    # A body would be taken for the next request.
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        return None
    return Asked(words[1], headers)


def _bytes(reply: Reply) -> bytes:
    head = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", f"Content-Length: {len(reply.body)}"]
    head += [f"{name}: {_safe(value)}" for name, value in reply.headers]
    return "\r\n".join([*head, "", ""]).encode("latin-1", "replace") + reply.body


def _safe(value: str) -> str:
    return "".join(c for c in value if c >= " " and c != "\x7f")
