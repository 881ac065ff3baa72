"""The small HTTP client: every framing, every deadline."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.agent.http1 import BodyReader, Connection, EndOfStream, HttpError


def chunked(pieces: list[bytes], trailer: bytes = b"") -> bytes:
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(p), p) for p in pieces if p) + b"0\r\n" + trailer + b"\r\n"


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 30), max_size=40), st.booleans())
def test_a_chunked_body_however_it_is_cut(pieces: list[bytes], cuts: list[int], trailer: bool) -> None:
    wire = chunked(pieces, b"X-A: 1\r\n" if trailer else b"") + b"HTTP/1.1 next"
    reader = BodyReader({"transfer-encoding": "chunked"})
    body, at = b"", 0
    for cut in [*cuts, len(wire)]:
        body += reader.feed(wire[at : at + cut])
        at += cut
    assert reader.done
    assert body == b"".join(pieces)


@given(st.binary(max_size=200), st.lists(st.integers(1, 50), max_size=10))
def test_anything_may_come_as_chunks_without_harm(wire: bytes, cuts: list[int]) -> None:
    reader, at = BodyReader({"transfer-encoding": "chunked"}), 0
    try:
        for cut in [*cuts, len(wire)]:
            reader.feed(wire[at : at + cut])
            at += cut
    except HttpError:
        pass


def test_other_framings() -> None:
    by_length = BodyReader({"content-length": "3"})
    assert by_length.feed(b"ab") + by_length.feed(b"cd") == b"abc"
    assert by_length.done
    until_end = BodyReader({})
    assert until_end.feed(b"x") == b"x"
    assert not until_end.done
    assert not until_end.ends
    assert BodyReader({"content-length": "0"}).done
    assert BodyReader({"content-length": "9"}, bodyless=True).done
    with pytest.raises(HttpError):
        BodyReader({"content-length": "-1"})


Answering = Callable[[Callable[[socket.socket], object]], Connection]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Return a connection to a peer that does what it is told in a thread."""
    made: list[Connection] = []
    threads = []

    def make(peer: Callable[[socket.socket], object]) -> Connection:
        here, there = socket.socketpair()

        def work() -> None:
            with there:
                peer(there)

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        made.append(Connection(here, "host"))
        return made[-1]

    yield make
    for conn in made:
        conn.close()
    for thread in threads:
        thread.join(10)


def test_several_requests_on_one_connection(answering: Answering) -> None:
    def peer(sock: socket.socket) -> None:
        assert sock.recv(1000) == (
            b"POST /a HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
        )
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-Y:  z \r\n\r\n[1,2,3]")
        assert sock.recv(1000).startswith(b"GET /b HTTP/1.1\r\n")
        sock.sendall(b"HTTP/1.1 304 Not Modified\r\n\r\n")

    conn = answering(peer)
    reply = conn.request("POST", "/a", b"{}", timeout=5)
    assert (reply.status, reply.headers["x-y"], reply.json()) == (200, "z", [1, 2, 3])
    assert conn.request("GET", "/b", timeout=5).status == 304


def test_a_peer_that_drips_is_given_up_in_time(answering: Answering) -> None:
    def peer(sock: socket.socket) -> None:
        try:
            for _ in range(40):
                sock.sendall(b"H")
                time.sleep(0.05)
        except OSError:
            pass

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        answering(peer).request("GET", "/", timeout=0.5)
    assert time.monotonic() - began < 1.5


def test_ends_are_told_apart(answering: Answering) -> None:
    with pytest.raises(EndOfStream) as e:
        answering(lambda sock: sock.recv(100)).request("GET", "/", timeout=5)
    assert e.value.first

    def cut(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    with pytest.raises(HttpError, match="closed within an answer"):
        answering(cut).request("GET", "/", timeout=5)


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n", b"x" * 70_000])
def test_what_is_not_http_is_refused(answering: Answering, answer: bytes) -> None:
    def peer(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(answer)
        time.sleep(0.3)

    with pytest.raises(HttpError):
        answering(peer).request("GET", "/", timeout=5)


def test_an_answer_may_not_be_larger_than_allowed(answering: Answering) -> None:
    def peer(sock: socket.socket) -> None:
        sock.recv(100)
        with contextlib.suppress(OSError):
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000)

    with pytest.raises(HttpError, match="larger than"):
        answering(peer).request("GET", "/", timeout=5, limit=100_000)


def test_a_waiting_thread_is_woken(answering: Answering) -> None:
    conn = answering(lambda sock: sock.recv(100) and sock.recv(100))
    threading.Timer(0.2, conn.interrupt).start()
    began = time.monotonic()
    with pytest.raises(OSError, match="closed"):
        conn.request("GET", "/", timeout=30)
    assert time.monotonic() - began < 10
