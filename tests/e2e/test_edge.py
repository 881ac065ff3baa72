"""One edge with its Caddy, from outside: what browsers, uploads and people without a password see."""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import argon2
import pytest

from automator67.engine.nodes.certificates import Authority
from tests.support import http3
from tests.support.edge import Backend, EdgeUnderTest
from tests.support.streams import StreamBackend, accept_key, send_frame

HASHED = argon2.PasswordHasher().hash("secret")
NAMES = ("web.test", "*.wild.test", "paths.test", "old.test", "few.test", "mine.test", "stream.test", "six.test")


class Site:
    """The edge and what is behind it."""

    def __init__(self, directory: Path) -> None:
        self.edge = EdgeUnderTest(directory / "edge", Authority.open(directory / "ca"), "one")
        self.web, self.api, self.locked = Backend("web"), Backend("api"), Backend("locked")
        self.stream = StreamBackend()
        edge = self.edge
        edge.internal(*NAMES)
        edge.table["nodes"] = {"one": "127.0.0.1:0"}
        edge.app("web", w0=self.web.address)
        edge.app("api", a0=self.api.address)
        edge.app("locked", l0=self.locked.address)
        edge.app("stream", s0=self.stream.address)
        edge.site("web.test", "web")
        edge.site("*.wild.test", "web")
        edge.site("paths.test", "web")
        edge.site("paths.test", "api", path="/api")
        edge.site("paths.test", "locked", path="/locked", basic={"ana": HASHED})
        edge.site("old.test", redirect="web.test")
        edge.site("few.test", "locked", allow=["192.0.2.0/24"])
        edge.site("mine.test", "web", allow=["127.0.0.0/8"])
        edge.site("stream.test", "stream")
        edge.site("paths.test", "stream", path="/stream")
        edge.table["nodes"] = {}
        edge.start()

    def close(self) -> None:
        """Stop everything."""
        self.edge.stop()
        for backend in (self.web, self.api, self.locked, self.stream):
            backend.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.close()


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_https_with_the_cloud_s_own_certificate(site: Site) -> None:
    reply = site.edge.request("web.test", "/a/b?c=d")
    assert (reply.status, reply.text) == (200, "web GET /a/b?c=d 0")
    seen = site.web.seen[-1]
    assert (seen["host"], seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("web.test", "127.0.0.1", "https")


def test_what_an_app_sees_is_the_same_by_either_way(site: Site) -> None:
    plain = ("host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")
    site.edge.request("web.test")
    directly = [site.web.seen[-1][k] for k in plain]
    site.edge.request("mine.test")
    by_the_gate = [site.web.seen[-1][k] for k in plain]
    assert directly == ["web.test", "127.0.0.1", "https", "web.test"]
    assert by_the_gate == ["mine.test", "127.0.0.1", "https", "mine.test"]


def test_plain_http_leads_to_https_at_the_same_place(site: Site) -> None:
    ports = site.edge.home / "ports.json"
    port = int(re.search(r'"http":\s*(\d+)', ports.read_text())[1])  # type: ignore[index]
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        s.sendall(b"GET /a//b?c=d&e HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: s.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 308 ")
    assert f"Location: https://web.test:{site.edge.status['https']}/a//b?c=d&e\r\n" in answer


def test_a_redirect_keeps_path_and_query(site: Site) -> None:
    reply = site.edge.request("old.test", "/x?y=z")
    assert (reply.status, reply.headers["location"]) == (308, "https://web.test/x?y=z")


def test_a_wildcard_is_for_every_name_one_below(site: Site) -> None:
    assert site.edge.request("any.wild.test", "/x").text == "web GET /x 0"
    assert site.edge.request("other.wild.test", "/x").text == "web GET /x 0"
    with pytest.raises(ssl.SSLError):
        site.edge.request("deep.any.wild.test")


def test_two_apps_share_a_host_by_path(site: Site) -> None:
    assert site.edge.request("paths.test", "/x").text == "web GET /x 0"
    assert site.edge.request("paths.test", "/api/x?y").text == "api GET /api/x?y 0"
    assert site.edge.request("paths.test", "/apix").text == "web GET /apix 0"


@pytest.mark.parametrize(
    "path", ["//locked", "/%6cocked", "/x/../locked", "/locked/../x", "/LOCKED", "/x/%2e%2e/locked"]
)
def test_nobody_gets_around_a_path(site: Site, path: str) -> None:
    before = [len(b.seen) for b in (site.web, site.api, site.locked)]
    assert site.edge.request("paths.test", path).status == 400
    assert [len(b.seen) for b in (site.web, site.api, site.locked)] == before


def test_a_password_is_asked_and_checked(site: Site) -> None:
    for given, status in (("", 401), (basic("ana:wrong"), 401), (basic("bob:secret"), 401), (basic("ana:secret"), 200)):
        reply = site.edge.request("paths.test", "/locked/x", authorization=given)
        assert reply.status == status
        assert ("www-authenticate" in reply.headers) == (status == 401)
    # With a body: the question whether it may pass has none.
    reply = site.edge.request(
        "paths.test", "/locked/x", method="POST", body=b"x" * 100_000, authorization=basic("ana:secret")
    )
    assert reply.text == "locked POST /locked/x 100000"


def test_only_listed_networks_pass_whatever_a_client_says_of_itself(site: Site) -> None:
    assert site.edge.request("mine.test").status == 200
    for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
        assert site.edge.request("few.test", **{header: "192.0.2.1"}).status == 403
    assert site.edge.request("few.test", Connection="close, X-Forwarded-For").status == 403


@pytest.mark.parametrize("host", ["web.test", "paths.test", "any.wild.test", "mine.test"])
@pytest.mark.parametrize("header", ["A67-App", "a67-app", "A67_App"])
def test_a_client_does_not_say_which_app_it_gets(site: Site, host: str, header: str) -> None:
    before = len(site.locked.seen)
    for extra in ({}, {"Connection": f"close, {header}"}, {"X-Forwarded-Host": "paths.test"}):
        assert site.edge.request(host, "/x", **{header: "locked"}, **extra).text == "web GET /x 0"
    reply = site.edge.request(host, "/x", **{"X-Forwarded-Uri": "/locked", "X-Forwarded-Host": "few.test"})
    assert reply.text == "web GET /x 0"
    assert len(site.locked.seen) == before


@pytest.mark.parametrize("host", ["web.test.", "[::1]", "*.wild.test", "a..b", ".test"])
def test_a_host_that_is_no_name_is_refused_at_once(site: Site, host: str) -> None:
    began = time.monotonic()
    assert site.edge.request("web.test", Host=host).status == 400
    assert site.edge.request("web.test", Host="nobody.test").status == 404
    assert time.monotonic() - began < 5


def test_an_unknown_name_is_refused_in_the_handshake(site: Site) -> None:
    with pytest.raises(ssl.SSLError):
        site.edge.connect("nobody.test")


@pytest.mark.parametrize("path", ["/echo", "/stream/echo"])
def test_a_websocket_goes_both_ways(site: Site, path: str) -> None:
    host = "stream.test" if path == "/echo" else "paths.test"
    with site.edge.connect(host) as s:
        key = base64.b64encode(os.urandom(16)).decode()
        s.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = s.recv(65536).decode()
        assert head.startswith("HTTP/1.1 101 ")
        assert accept_key(key) in head
        for word in ("hello", "again"):
            send_frame(s, word)
            assert s.recv(100)[2:].decode() == word


@pytest.mark.parametrize("path", ["/events", "/stream/events"])
def test_events_arrive_when_they_are_sent(site: Site, path: str) -> None:
    host = "stream.test" if path == "/events" else "paths.test"
    site.stream.go_on.clear()
    with site.edge.connect(host) as s:
        s.settimeout(10)
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        began, got = time.monotonic(), b""
        while b"data: first" not in got:
            got += s.recv(65536)
        assert time.monotonic() - began < 1
        assert b"second" not in got
        site.stream.go_on.set()
        while b"data: second" not in got:
            got += s.recv(65536)


def resident(pid: int) -> int:
    """Return the memory of a process in MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) >> 10


@pytest.mark.parametrize("path", ["/up", "/stream/up"])
def test_a_large_upload_goes_through_without_being_kept(site: Site, path: str) -> None:
    host, size, chunk = "stream.test" if path == "/up" else "paths.test", 100 << 20, bytes(1 << 20)
    assert site.edge.process is not None
    pids = (site.edge.caddy_pid, site.edge.process.pid)
    before, most = [resident(p) for p in pids], [0, 0]
    with site.edge.connect(host) as s:
        s.settimeout(60)
        s.sendall(
            f"PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode()
        )
        for _ in range(size // len(chunk)):
            s.sendall(chunk)
            most = [max(m, resident(p)) for m, p in zip(most, pids, strict=True)]
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    assert answer.endswith(str(size).encode())
    grown = [m - b for m, b in zip(most, before, strict=True)]
    assert grown[0] < 40
    assert grown[1] < 5


def test_http_2_is_spoken_and_http_3_is_offered(site: Site) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not on this machine")
    (site.edge.home / "trust.pem").write_text(site.edge.authority.pem)
    port = site.edge.status["https"]
    found = subprocess.run(
        ["curl", "-sS", "--http2", "--cacert", site.edge.home / "trust.pem", "--resolve", f"web.test:{port}:127.0.0.1",
         "-o", "/dev/null", "-D", "-", "-w", "%{http_version}", f"https://web.test:{port}/"],
        capture_output=True, text=True, check=True, timeout=30,
    ).stdout  # fmt: skip
    assert found.endswith("\n2")
    assert re.search(rf'alt-svc: h3=":{port}"', found)


def test_http_3_is_answered_by_the_same_app(site: Site) -> None:
    answer = http3.get(site.edge.status["https"], "web.test", "/by/quic?a=b", site.edge.authority.pem)
    assert answer == (200, b"web GET /by/quic?a=b 0")
    assert http3.get(site.edge.status["https"], "paths.test", "/locked", site.edge.authority.pem).status == 401
    with pytest.raises(ConnectionError):
        http3.get(site.edge.status["https"], "nobody.test", "/", site.edge.authority.pem)


def test_the_edge_s_own_questions_are_answered_to_nobody_else(site: Site) -> None:
    ports = (site.edge.home / "ports.json").read_text()
    port = int(re.search(r'"answers":\s*(\d+)', ports)[1])  # type: ignore[index]
    for target in ("/x/certificate?server_name=web.test", "/x/gate", "//[", "/" + "x" * 70_000):
        with socket.create_connection(("127.0.0.1", port), 20) as s:
            s.sendall(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: s.recv(65536), b""))
        assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
        assert b"PRIVATE KEY" not in answer
