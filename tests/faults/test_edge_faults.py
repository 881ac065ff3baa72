"""The edge and its Caddy killed in every way, damaged files, a full disk, ports that are taken."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from automator67.engine.nodes.certificates import Authority
from tests.support.cloud import wait_for
from tests.support.edge import Backend, EdgeUnderTest, ask
from tests.support.streams import StreamBackend


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[EdgeUnderTest]:
    yield from made(tmp_path, tmp_path / "edge")


def made(tmp_path: Path, home: Path) -> Iterator[EdgeUnderTest]:
    """Return an edge with one app, and stop both afterwards."""
    backend = Backend("web")
    edge = EdgeUnderTest(home, Authority.open(tmp_path / "ca"), "one")
    edge.internal("web.test", "new.test")
    edge.app("web", w0=backend.address)
    edge.site("web.test", "web")
    edge.start()
    wait_for("the first answer", lambda: serves(edge))
    yield edge
    edge.stop()
    backend.close()


def serves(edge: EdgeUnderTest, host: str = "web.test") -> bool:
    try:
        return edge.request(host).text.startswith("web")
    except (OSError, KeyError):
        return False


def kill(edge: EdgeUnderTest) -> None:
    assert edge.process is not None
    edge.process.kill()
    edge.process.wait()


def ask_on(s: socket.socket) -> bytes:
    s.sendall(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n")
    answer = b""
    while not answer.endswith(b"GET / 0") and (data := s.recv(65536)):
        answer += data
    return answer


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def answers(edge: EdgeUnderTest, port: int) -> bool:
    with contextlib.suppress(OSError):
        return ask(port, edge.authority.pem, "web.test").status == 200
    return False


def log(edge: EdgeUnderTest) -> str:
    return (edge.home / "edge.log").read_text()


def test_caddy_is_killed(edge: EdgeUnderTest) -> None:
    for _ in range(2):
        before = edge.caddy_pid
        os.kill(before, signal.SIGKILL)
        began = time.monotonic()
        wait_for("Caddy to be back", lambda: serves(edge))
        assert time.monotonic() - began < 5
        assert edge.caddy_pid != before
    wait_for("the problem to be told", lambda: "caddy ended" in edge.status["problem"])


def test_the_edge_is_killed_and_caddy_goes_on(edge: EdgeUnderTest) -> None:
    caddy = edge.caddy_pid
    with edge.connect("web.test") as s:
        assert b" 200 " in ask_on(s)
        kill(edge)
        # The last table is still served, longer than answers are kept.
        for _ in range(3):
            time.sleep(0.4)
            assert b" 200 " in ask_on(s)
        edge.site("new.test", "web")
        edge.start()
        wait_for("the new name", lambda: serves(edge, "new.test"))
        assert b" 200 " in ask_on(s)
    assert edge.caddy_pid == caddy
    wait_for("the status", lambda: edge.status["caddy"] == caddy)


def test_the_edge_forgets_which_caddy_it_started(edge: EdgeUnderTest) -> None:
    # As when it is killed between starting it and writing that down.
    caddy = edge.caddy_pid
    with edge.connect("web.test") as s:
        kill(edge)
        (edge.home / "caddy.json").unlink()
        (edge.home / "status.json").unlink()
        edge.start()
        wait_for("the same Caddy", lambda: edge.status.get("caddy") == caddy)
        assert b" 200 " in ask_on(s)
    (edge.home / "caddy.json").write_text(json.dumps({"pid": caddy}))


def test_both_are_killed(edge: EdgeUnderTest) -> None:
    kill(edge)
    os.kill(edge.caddy_pid, signal.SIGKILL)
    edge.start()
    wait_for("an answer", lambda: serves(edge))


def test_a_damaged_table_leaves_the_last_one(edge: EdgeUnderTest) -> None:
    table = edge.home / "table.json"
    assert edge.process is not None
    for text, said in (("{", "damaged"), ("[]", "damaged"), ('{"node": "one", "sites": [{}]}', "cannot be understood")):
        table.write_text(text)
        edge.process.send_signal(signal.SIGHUP)
        wait_for("a word", lambda said=said: said in log(edge))
        assert serves(edge)
    edge.site("new.test", "web")
    edge.set()
    wait_for("the new name", lambda: serves(edge, "new.test"))


def test_a_new_certificate_ends_no_connection(edge: EdgeUnderTest) -> None:
    before = edge.status["fingerprint"]
    stream = StreamBackend()
    edge.app("stream", s0=stream.address)
    edge.site("new.test", "stream")
    edge.set()
    with edge.connect("new.test") as s:
        s.settimeout(30)
        (edge.home / "identity.pem").write_text("damaged")
        edge.set()
        wait_for("a word", lambda: "identity.pem is damaged" in log(edge))
        s.sendall(b"GET /events HTTP/1.1\r\nHost: new.test\r\n\r\n")
        got = b""
        while b"first" not in got:
            got += s.recv(65536)
        again = edge.authority.sign_edge(edge.csr, "home", "one", ["one.node.a67"]).pem
        (edge.home / "identity.pem").write_text(again)
        edge.set()
        wait_for("the new certificate", lambda: edge.status["fingerprint"] != before)
        wait_for("Caddy to serve with it", lambda: presented(edge) == edge.status["fingerprint"])
        stream.go_on.set()
        while b"second" not in got and (data := s.recv(65536)):
            got += data
    stream.close()
    assert b"second" in got
    assert serves(edge)


def presented(edge: EdgeUnderTest) -> str:
    """Return the hash of the certificate that the proxy shows."""
    import hashlib
    import ssl

    context = ssl.create_default_context(cadata=edge.authority.pem)
    with (
        socket.create_connection(("127.0.0.1", edge.status["proxy"]), 20) as raw,
        context.wrap_socket(raw, server_hostname="one.node.a67") as tls,
    ):
        return hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()


def test_somebody_took_its_ports_meanwhile(edge: EdgeUnderTest) -> None:
    ports = json.loads((edge.home / "ports.json").read_text())
    kill(edge)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dns, socket.create_server(("127.0.0.1", ports["answers"])):
        dns.bind(("127.0.0.1", ports["dns"]))
        edge.site("new.test", "web")
        edge.start()
        wait_for("an answer", lambda: serves(edge, "new.test"))
    assert json.loads((edge.home / "ports.json").read_text())["dns"] != ports["dns"]


def test_a_second_edge_leaves_the_first_alone(edge: EdgeUnderTest) -> None:
    first = edge.process
    edge.process = None
    edge.start()
    assert edge.process is not None
    assert edge.process.wait(10) == 0
    edge.process = first
    assert serves(edge)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_told_and_everything_goes_on(tmp_path: Path) -> None:
    home = tmp_path / "small"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "a67-test", home], capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        running = made(tmp_path, home)
        edge = next(running)
        fill(home / "filler")
        port, ended = edge.status["https"], edge.caddy_pid
        os.kill(ended, signal.SIGKILL)
        wait_for("an answer", lambda: answers(edge, port))
        # Where its log is on that disk, it has no other way to say so than its status, once there is room.
        (home / "filler").unlink()
        wait_for("the status", lambda: edge.status.get("caddy", ended) != ended)
        assert serves(edge)
        next(running, None)
    finally:
        subprocess.run(["umount", "-l", home], check=True)
        shutil.rmtree(home)
