"""Two edges: shares, who may use a proxy, copies and proxies that die."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from automator67.engine.nodes.certificates import Authority
from tests.support.cloud import wait_for
from tests.support.edge import Backend, EdgeUnderTest, ask
from tests.support.mesh import Load, Mesh

NAMES = ("near.test", "far.test", "both.test", "paths.test", "six.test", "gone.test", "late.test")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    made = Mesh(tmp_path_factory.mktemp("mesh"))
    made.one.internal(*NAMES)
    yield made
    made.stop()


@pytest.fixture
def backend() -> Iterator[Callable[..., Backend]]:
    made: list[Backend] = []

    def make(word: str, **more: str) -> Backend:
        made.append(Backend(word, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for b in made:
        with contextlib.suppress(OSError):
            b.close()


def words(edge: EdgeUnderTest, host: str, count: int) -> Counter[str]:
    return Counter(edge.request(host).text.split(" ")[0] for _ in range(count))


def answers(edge: EdgeUnderTest, host: str, word: str) -> None:
    wait_for(f"{host} to say {word}", lambda: edge.request(host).text.startswith(word))


def test_a_copy_elsewhere_is_reached_by_its_node_s_proxy(mesh: Mesh, backend: Callable[..., Backend]) -> None:
    far, other = backend("far"), backend("other")
    mesh.place("far", {"far-0": ("two", far.address, 1)})
    mesh.place("other", {"other-0": ("two", other.address, 1)})
    mesh.site("far.test", "far")
    mesh.site("paths.test", "far")
    mesh.site("paths.test", "other", path="/other")
    mesh.set()
    answers(mesh.one, "far.test", "far")
    assert mesh.one.request("far.test", "/x?y", method="POST", body=b"12345").text == "far POST /x?y 5"
    # An app sees the client, not what is between.
    seen = far.seen[-1]
    assert (seen["host"], seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("far.test", "127.0.0.1", "https")
    assert mesh.one.request("paths.test", "/x").text == "far GET /x 0"
    assert mesh.one.request("paths.test", "/other/x").text == "other GET /other/x 0"
    seen = other.seen[-1]
    assert (seen["host"], seen["x-forwarded-for"], seen["x-forwarded-proto"]) == ("paths.test", "127.0.0.1", "https")
    assert mesh.one.request("paths.test", "/x", **{"A67-App": "other"}).text == "far GET /x 0"


def test_shares_go_by_weight(mesh: Mesh, backend: Callable[..., Backend]) -> None:
    near, far = backend("near"), backend("far")
    mesh.place("both", {"both-0": ("one", near.address, 3), "both-1": ("two", far.address, 1)})
    mesh.site("both.test", "both")
    mesh.set()
    answers(mesh.one, "both.test", "far")
    counted = words(mesh.one, "both.test", 400)
    # Four standard deviations.
    assert sum(counted.values()) == 400
    assert 265 <= counted["near"] <= 335


def test_a_copy_may_listen_on_ipv6(mesh: Mesh, backend: Callable[..., Backend]) -> None:
    if not _has_ipv6():
        pytest.skip("this machine has no ::1")
    six = backend("six", host="::1")
    for node in ("two", "one"):
        mesh.place("six", {"six-0": (node, six.address, 1)})
        if node == "two":
            mesh.site("six.test", "six")
        mesh.one.table["peers"] = mesh.two.table["peers"]
        mesh.set()
        answers(mesh.one, "six.test", "six")


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as s:
        s.bind(("::1", 0))
        return True
    return False


def ask_proxy(
    mesh: Mesh, *, authority: Authority, directory: Path, highest: ssl.TLSVersion | None = None, ours: bool = False
) -> bytes:
    """Ask two's proxy for an app as whoever has a certificate of this authority (``ours``: the gateway's own)."""
    context = ssl.create_default_context(cadata=mesh.authority.pem)
    if highest is not None:
        context.maximum_version = highest
    if ours:
        context.load_cert_chain(mesh.one.home / "identity.pem", mesh.one.home / "key.pem")
    else:
        stranger = EdgeUnderTest(directory / "stranger", authority, "stranger")
        context.load_cert_chain(stranger.home / "identity.pem", stranger.home / "key.pem")
    with (
        socket.create_connection(("127.0.0.1", mesh.two.status["proxy"]), 20) as raw,
        context.wrap_socket(raw, server_hostname="two.node.a67") as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nHost: far.test\r\nA67-App: far\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: tls.recv(65536), b""))


def test_a_proxy_lets_only_gateways_in(mesh: Mesh, tmp_path: Path, backend: Callable[..., Backend]) -> None:
    far = backend("far")
    mesh.place("far", {"far-0": ("two", far.address, 1)})
    mesh.set()
    wait_for(
        "the proxy to know",
        lambda: b"far GET" in ask_proxy(mesh, authority=mesh.authority, directory=tmp_path, ours=True),
    )
    before = len(far.seen)
    # One of our nodes that is no gateway: the connection ends without a word.
    assert ask_proxy(mesh, authority=mesh.authority, directory=tmp_path) == b""
    with pytest.raises(OSError, match=r"(?i)alert|reset|broken pipe"):
        ask_proxy(mesh, authority=Authority.open(tmp_path / "other-ca"), directory=tmp_path / "other")
    with pytest.raises(ssl.SSLError):
        ask_proxy(mesh, authority=mesh.authority, directory=tmp_path, highest=ssl.TLSVersion.TLSv1_2, ours=True)
    with pytest.raises(OSError, match=r"(?i)alert|reset|broken pipe"):
        ask(mesh.two.status["proxy"], mesh.authority.pem, "two.node.a67", Host="far.test")
    assert len(far.seen) == before


def test_a_gateway_that_is_one_no_more_is_shut_out_at_once(mesh: Mesh, tmp_path: Path) -> None:
    peers = mesh.two.table["peers"]
    try:
        mesh.two.table["peers"] = []
        mesh.two.set()
        wait_for(
            "the door to close", lambda: not ask_proxy(mesh, authority=mesh.authority, directory=tmp_path, ours=True)
        )
    finally:
        mesh.two.table["peers"] = peers
        mesh.two.set()


def test_a_gateway_speaks_only_to_the_node_it_means(mesh: Mesh, backend: Callable[..., Backend]) -> None:
    # Somebody at the address of a node, with a certificate of another node.
    late = backend("late")
    mesh.place("late", {"late-0": ("two", late.address, 1)})
    mesh.site("late.test", "late")
    right = dict(mesh.one.table["nodes"])
    mesh.one.table["nodes"] = right | {"two": right["one"]}
    mesh.set()
    with mesh.one.connect("late.test") as s:
        s.settimeout(1.5)
        s.sendall(b"GET / HTTP/1.1\r\nHost: late.test\r\n\r\n")
        with pytest.raises(TimeoutError):
            s.recv(100)
        # The request still waits, and is answered as soon as the node is where it should be.
        mesh.one.table["nodes"] = right
        mesh.one.set()
        s.settimeout(20)
        assert s.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_copy_elsewhere_dies(mesh: Mesh, backend: Callable[..., Backend], method: str) -> None:
    near, far = backend("near"), backend("far")
    mesh.place("gone", {"gone-0": ("one", near.address, 1), "gone-1": ("two", far.address, 1)})
    if method == "GET":
        mesh.site("gone.test", "gone")
    mesh.set()
    answers(mesh.one, "gone.test", "far")
    answers(mesh.one, "gone.test", "near")
    near.seen.clear()
    far.seen.clear()
    load = Load(mesh.one, "gone.test", method=method)
    wait_for("both to be asked", lambda: len(near.seen) > 20 and len(far.seen) > 20)
    far.die()
    died = load.count
    wait_for("more requests", lambda: load.count > died + 8, 60)
    mesh.place("gone", {"gone-0": ("one", near.address, 1)})
    mesh.set()
    load.stop()
    if method == "GET":
        assert load.failed == []
    else:
        # What is under way there is lost; nothing is done twice.
        assert all(" 502 " in problem for problem in load.failed), load.failed
        assert load.count - len(load.failed) <= len(near.seen) + len(far.seen) <= load.count


def test_a_proxy_elsewhere_dies(mesh: Mesh, backend: Callable[..., Backend]) -> None:
    near, far = backend("near"), backend("far")
    mesh.place("gone", {"gone-0": ("one", near.address, 1), "gone-1": ("two", far.address, 1)})
    mesh.set()
    answers(mesh.one, "gone.test", "far")
    load = Load(mesh.one, "gone.test")
    wait_for("both to be asked", lambda: near.seen and far.seen)
    assert mesh.two.process is not None
    mesh.two.process.kill()
    mesh.two.process.wait()
    os.kill(mesh.two.caddy_pid, signal.SIGKILL)
    began = time.monotonic()
    wait_for("the gateway to leave it out", lambda: mesh.one.status["down"] == ["two"], 15)
    assert time.monotonic() - began < 8
    mesh.two.start()
    wait_for("the gateway to take it back", lambda: mesh.one.status["down"] == [], 15)
    before = len(far.seen)
    wait_for("requests to go there again", lambda: len(far.seen) > before)
    load.stop()
    assert load.failed == []


def test_certificates_of_edges_say_that_they_are_no_agents(mesh: Mesh) -> None:
    from cryptography import x509

    made = x509.load_pem_x509_certificate(mesh.one.identity.encode())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://automator67/home/edge/one"]
    assert made.not_valid_after_utc - datetime.now(UTC) < timedelta(days=366)
