"""Streams from the engine: what is not whole is never given out to its end."""

from __future__ import annotations

import hashlib
import socket
import threading
from typing import Any

import pytest

from automator67.agent.http1 import Connection
from automator67.agent.transfer import Download, TransferError

DATA = bytes(range(256)) * 4096
SUM = hashlib.sha256(DATA).digest()


class Answers:
    """An engine that answers each request with the same bytes, and closes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connect(self) -> Connection:
        here, there = socket.socketpair()

        def serve() -> None:
            with there:
                there.recv(65536)
                there.sendall(self._answer)

        threading.Thread(target=serve, daemon=True).start()
        return Connection(here, "engine")


def download(answer: bytes) -> Download:
    link: Any = Answers(answer)
    return Download(link, "GET", "/v1/trees/x")


def head(size: int, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode()


def test_what_is_whole_arrives() -> None:
    assert b"".join(download(head(len(DATA) + 32) + DATA + SUM)) == DATA


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(head(len(DATA) + 32) + DATA + SUM[:-1] + b"x", id="another checksum"),
        pytest.param(head(len(DATA) + 32) + DATA[:-1] + b"x" + SUM, id="another content"),
        pytest.param(head(len(DATA) + 32) + DATA, id="broken off"),
        pytest.param(head(len(DATA)) + DATA, id="without a checksum"),
        pytest.param(head(0), id="nothing"),
    ],
)
def test_what_is_not_whole_is_never_given_to_its_end(answer: bytes) -> None:
    given: list[bytes] = []
    with pytest.raises(TransferError):
        given.extend(download(answer))
    assert sum(map(len, given)) < len(DATA)


def test_a_refusal_is_said_in_the_engines_words() -> None:
    body = b'{"error": "no node has it", "hint": ""}'
    with pytest.raises(TransferError, match="no node has it"):
        download(head(len(body), "409 Conflict") + body)
