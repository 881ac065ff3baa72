"""What the world does to a webhook endpoint: wrong, replayed, endless and slow deliveries, bursts, sudden death."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from automator67.engine.inbox import Inbox
from tests.support import deliveries as forge
from tests.support.cloud import wait_for
from tests.support.web import SETTINGS, WebProcess, post, sample_store, waiting

HUGE = 30 * 2**20


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    directory = tmp_path_factory.mktemp("faults")
    sample_store(directory / "store.db", time.time()).close()
    with WebProcess(directory, SETTINGS) as process:
        yield process


@pytest.fixture
def client(web: WebProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=web.url, timeout=20) as one:
        yield one


def connect(web: WebProcess) -> socket.socket:
    return socket.create_connection(web.address, timeout=20)


def memory(web: WebProcess) -> int:
    """Return the largest resident memory (bytes) the serving process ever had."""
    (worker,) = web.children()
    line = next(x for x in Path(f"/proc/{worker}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def answer_of(sock: socket.socket) -> bytes:
    """Read until the server closes; what came before a reset counts."""
    parts = []
    try:
        while piece := sock.recv(65536):
            parts.append(piece)
    except ConnectionError:
        pass
    return b"".join(parts)


def test_a_wrong_signature_and_a_replay_have_no_effect(web: WebProcess, client: httpx.Client) -> None:
    good = forge.github(forge.push(), delivery="replayed")
    assert post(client, "github", good).status_code == 202
    before = waiting(web.state)
    for _ in range(3):
        again = post(client, "github", good)
        assert (again.status_code, again.json()) == (200, {"result": "duplicate", "reason": "already seen"})
    assert post(client, "github", forge.github(forge.push(), secret="wrong")).status_code == 401
    assert waiting(web.state) == before


def test_a_replay_is_known_after_the_web_process_died(tmp_path: Path) -> None:
    good = forge.github(forge.push(), delivery="replayed")
    for expected in (202, 200):
        with WebProcess(tmp_path, SETTINGS) as web, httpx.Client(base_url=web.url, timeout=20) as client:
            assert post(client, "github", good).status_code == expected
            web.kill()
    assert waiting(tmp_path) == ["replayed"]


@pytest.mark.parametrize("framing", ["declared", "chunked"])
@pytest.mark.parametrize("path", ["/hooks/github", "/"])
def test_thirty_megabytes_are_refused_without_being_held(web: WebProcess, framing: str, path: str) -> None:
    before = memory(web)
    connection = http.client.HTTPConnection(*web.address, timeout=30)
    block = b" " * 65536

    def chunks() -> Iterator[bytes]:
        for _ in range(HUGE // len(block)):
            yield block

    headers = {"Content-Type": "application/json"} | ({"Content-Length": str(HUGE)} if framing == "declared" else {})
    with contextlib.suppress(ConnectionError):  # answered before everything was sent
        connection.request("POST", path, body=chunks(), headers=headers, encode_chunked=framing == "chunked")
    answer = connection.getresponse()
    assert answer.status == (413 if path == "/hooks/github" else 405)
    if path == "/hooks/github":
        assert "the poll will find the commit" in json.loads(answer.read())["reason"]
    connection.close()
    assert memory(web) - before < 24 * 2**20


def test_a_body_declared_huge_is_refused_before_a_byte_of_it(web: WebProcess) -> None:
    with connect(web) as sock:
        sock.sendall(
            b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % HUGE
        )
        assert b" 413 " in sock.recv(4096)


def test_contradicting_lengths_are_refused(web: WebProcess) -> None:
    with connect(web) as sock:
        sock.sendall(
            b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert answer_of(sock).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "start", [b"GET / HTTP/1.1\r\nX-A: ", b"POST /hooks/github HTTP/1.1\r\nContent-Length: 900\r\n\r\n"]
)
def test_hundreds_of_slow_clients_hold_nobody_up(web: WebProcess, client: httpx.Client, start: bytes) -> None:
    slow = [connect(web) for _ in range(300)]
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.5):
            for sock in slow:
                try:
                    sock.send(b"a")
                except OSError:
                    continue

    for sock in slow:
        sock.sendall(start)
    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        times = []
        for _ in range(10):
            begun = time.monotonic()
            assert post(client, "github", forge.github(forge.push())).status_code == 202
            assert client.get("/healthz").status_code == 200
            times.append(time.monotonic() - begun)
        assert sorted(times)[len(times) // 2] < 1
        # And none of them stays: each gets its ten seconds and is told so.
        first = slow[0]
        first.settimeout(30)
        assert answer_of(first).startswith(b"HTTP/1.1 408")
    finally:
        stop.set()
        dripping.join()
        for sock in slow:
            sock.close()


def test_clients_that_never_speak_or_never_close_hold_nobody_up(web: WebProcess, client: httpx.Client) -> None:
    silent = [connect(web) for _ in range(200)]
    lingering = [connect(web) for _ in range(20)]
    for sock in lingering:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    begun = time.monotonic()
    assert client.get("/healthz").status_code == 200
    assert post(client, "github", forge.github(forge.push())).status_code == 202
    assert time.monotonic() - begun < 2
    for sock in [*silent, *lingering]:
        sock.close()


def test_more_connections_than_are_served_make_room(web: WebProcess, client: httpx.Client) -> None:
    crowd = [connect(web) for _ in range(700)]
    assert client.get("/healthz").status_code == 200
    with connect(web) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer_of(sock).startswith(b"HTTP/1.1 200")
    for sock in crowd:
        sock.close()


def test_a_head_without_end_is_cut(web: WebProcess) -> None:
    with connect(web) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nX-A: " + b"a" * 40_000)
        assert answer_of(sock).startswith(b"HTTP/1.1 431")


def test_a_client_that_does_not_take_its_answer_holds_no_thread_for_long(web: WebProcess, client: httpx.Client) -> None:
    greedy = []
    for _ in range(12):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(web.address)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        greedy.append(sock)
    assert client.get("/healthz", timeout=60).status_code == 200
    for sock in greedy:
        sock.close()


def test_who_waits_for_leave_to_send_gets_it(web: WebProcess) -> None:
    headers, body = forge.github(forge.push())
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with connect(web) as sock:
        sock.sendall(
            f"POST /hooks/github HTTP/1.1\r\nHost: x\r\n{head}Expect: 100-continue\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        )
        assert sock.recv(100).startswith(b"HTTP/1.1 100")
        sock.sendall(body)
        assert b"HTTP/1.1 202" in answer_of(sock)


def test_a_chunked_delivery_is_taken(web: WebProcess) -> None:
    headers, body = forge.github(forge.push())
    connection = http.client.HTTPConnection(*web.address, timeout=20)
    pieces = [body[:10], body[10:50], body[50:]]
    connection.request("POST", "/hooks/github", body=iter(pieces), headers=headers, encode_chunked=True)
    assert connection.getresponse().status == 202
    connection.close()


def test_requests_sent_behind_each_other_are_all_answered(web: WebProcess) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(web) as sock:
        sock.sendall(one * 4 + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answer_of(sock).count(b"HTTP/1.1 200") == 5


def test_two_pushes_within_fifty_milliseconds_are_both_kept(web: WebProcess) -> None:
    answers: list[int] = []

    def push(name: str) -> None:
        with httpx.Client(base_url=web.url, timeout=20) as client:
            answers.append(post(client, "github", forge.github(forge.push(), delivery=name)).status_code)

    both = [threading.Thread(target=push, args=(name,)) for name in ("first of two", "second of two")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert answers == [202, 202]
    assert {"first of two", "second of two"} <= set(waiting(web.state))


def test_the_same_delivery_at_the_same_instant_is_kept_once(web: WebProcess) -> None:
    answers: list[int] = []
    delivery = forge.github(forge.push(), delivery="all at once")
    gate = threading.Barrier(8)

    def push() -> None:
        with httpx.Client(base_url=web.url, timeout=20) as client:
            client.get("/healthz")
            gate.wait(timeout=20)
            answers.append(post(client, "github", delivery).status_code)

    threads = [threading.Thread(target=push) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] * 7 + [202]
    assert waiting(web.state).count("all at once") == 1


@pytest.mark.parametrize("whom", ["all", "the serving process"])
def test_killed_in_a_burst_nothing_that_was_accepted_is_lost(tmp_path: Path, whom: str) -> None:
    accepted: list[str] = []
    lock = threading.Lock()
    stop = threading.Event()
    with WebProcess(tmp_path, SETTINGS) as web:

        def send(sender: int) -> None:
            n = 0
            while not stop.is_set():
                n += 1
                name = f"{sender}-{n}"
                try:
                    with httpx.Client(base_url=web.url, timeout=5) as client:
                        if post(client, "github", forge.github(forge.push(), delivery=name)).status_code == 202:
                            with lock:
                                accepted.append(name)
                except httpx.HTTPError:
                    continue

        senders = [threading.Thread(target=send, args=(n,)) for n in range(4)]
        for thread in senders:
            thread.start()
        wait_for("some deliveries to be accepted", lambda: len(accepted) > 30)
        if whom == "all":
            web.kill()
        else:
            (worker,) = web.children()
            os.kill(worker, signal.SIGKILL)
            seen = len(accepted)
            wait_for("deliveries to be accepted again", lambda: len(accepted) > seen + 5)
        stop.set()
        for thread in senders:
            thread.join()
    kept = Inbox(tmp_path / "inbox").take()
    assert all(delivery.forge == "github" for delivery in kept), "a file was not whole"
    assert set(accepted) <= {delivery.delivery_id for delivery in kept}


def test_a_disk_that_is_full_is_answered_so_that_the_forge_comes_again(tmp_path: Path) -> None:
    with WebProcess(tmp_path, SETTINGS) as web, httpx.Client(base_url=web.url, timeout=20) as client:
        assert post(client, "github", forge.github(forge.push())).status_code == 202
        (tmp_path / "inbox").rename(tmp_path / "elsewhere")
        answer = post(client, "github", forge.github(forge.push(), delivery="x"))
        assert (answer.status_code, answer.json()["result"]) == (503, "refused")
        (tmp_path / "elsewhere").rename(tmp_path / "inbox")
        assert post(client, "github", forge.github(forge.push(), delivery="x")).status_code == 202
