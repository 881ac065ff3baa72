"""The agents' endpoint over real TLS: who is let in, what is answered, what is refused, and in which words."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from automator67.engine.clock import steady_now
from automator67.engine.nodes.certificates import identity_of
from automator67.engine.nodes.registry import IdentityRefused, Registry
from automator67.engine.settings import Settings
from automator67.engine.store.tables import events, join_tokens
from tests.support.agents_endpoint import EndpointThread, Speaker
from tests.support.cloud import wait_for
from tests.unit.test_certificates import csr


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[EndpointThread]:
    running = EndpointThread(tmp_path)
    yield running
    running.close()


@pytest.fixture
def node(endpoint: EndpointThread) -> Speaker:
    speaker = Speaker(endpoint)
    speaker.join("hel1")
    return speaker


def test_the_ca_is_there_for_the_fingerprint(endpoint: EndpointThread) -> None:
    assert Speaker(endpoint).ask("GET", "/v1/ca") == (200, endpoint.authority.pem)


def test_a_token_works_once_and_is_stored_as_a_hash(endpoint: EndpointThread) -> None:
    token, speaker = endpoint.token("hel1"), Speaker(endpoint)
    text = token.text.split(".", 2)[2]
    with endpoint.store.read() as tx:
        assert text.split(".")[1] not in str(tx.execute(select(join_tokens)).all())
    message = {"proto": 1, "token": text, "csr": csr(speaker.key)}
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(speaker.ask("POST", "/v1/enroll", message)[0])) for _ in range(8)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == [200] + [403] * 7


@pytest.mark.parametrize("change", ["expired", "wrong", "unknown", "empty"])
def test_other_tokens_are_refused_alike(endpoint: EndpointThread, change: str) -> None:
    speaker = Speaker(endpoint)
    good = endpoint.token("hel1", ttl=-1 if change == "expired" else 60).text.split(".", 2)[2]
    text = {"expired": good, "wrong": good[:-1] + "x", "unknown": "a" * 16 + "." + "b" * 64, "empty": "."}[change]
    status, answer = speaker.ask("POST", "/v1/enroll", {"proto": 1, "token": text, "csr": csr(speaker.key)})
    assert (status, answer["error"]) == (403, "the token is wrong, was used before, or has expired")
    assert "node token" in answer["hint"]


def test_without_a_certificate_only_joining_is_possible(endpoint: EndpointThread) -> None:
    stranger = Speaker(endpoint)
    assert stranger.beat()[0] == 401
    assert stranger.ask("GET", "/v1/desired?rev=x&wait=0")[0] == 401
    assert stranger.ask("POST", "/v1/tasks/abc", b"{}\n")[0] == 401


def test_older_tls_is_refused(endpoint: EndpointThread) -> None:
    context = ssl.create_default_context(cadata=endpoint.authority.pem)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", endpoint.port)) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw, server_hostname="127.0.0.1")


def test_nothing_is_told_before_the_engine_knows(endpoint: EndpointThread, node: Speaker) -> None:
    assert node.ask("GET", "/v1/desired?rev=&wait=0.1")[0] == 304
    status, answer = node.beat()
    assert (status, answer["rev"]) == (200, "")
    assert answer["next_s"] < 1.5, "an engine that knows nothing yet wants to hear from the node soon"
    assert endpoint.registry.views({}, Settings())["hel1"].reported


def test_a_held_request_wakes_when_the_desired_state_changes(endpoint: EndpointThread, node: Speaker) -> None:
    node.beat()
    rev = endpoint.registry.set_desired("hel1", "home", [])
    assert node.ask("GET", f"/v1/desired?rev={rev}&wait=0")[0] == 304
    threading.Timer(0.3, lambda: endpoint.registry.set_desired("hel1", "home", [{"id": "a-0-1"}])).start()
    started = time.monotonic()
    status, answer = node.ask("GET", f"/v1/desired?rev={rev}&wait=20")
    assert (status, answer["instances"], answer["node"], answer["cloud"]) == (200, [{"id": "a-0-1"}], "hel1", "home")
    assert 0.2 < time.monotonic() - started < 5
    assert node.beat()[1]["rev"] == answer["rev"]


def test_a_newer_held_request_replaces_the_older(endpoint: EndpointThread, node: Speaker) -> None:
    node.beat()
    rev = endpoint.registry.set_desired("hel1", "home", [])
    answers: list[int] = []
    older = threading.Thread(target=lambda: answers.append(node.ask("GET", f"/v1/desired?rev={rev}&wait=20")[0]))
    older.start()
    wait_for("the first request to be held", lambda: endpoint.registry._nodes["hel1"].held == 1)
    assert node.ask("GET", f"/v1/desired?rev={rev}&wait=0.2")[0] == 304
    older.join(5)
    assert answers == [304]


def test_a_broken_connection_is_seen_at_once(endpoint: EndpointThread, node: Speaker) -> None:
    node.beat()
    connection = HTTPSConnection("127.0.0.1", endpoint.port, context=node.context())
    connection.request("GET", f"/v1/desired?rev={endpoint.registry.set_desired('hel1', 'home', [])}&wait=50")
    wait_for("the request to be held", lambda: endpoint.registry._nodes["hel1"].held == 1)
    connection.close()
    started = time.monotonic()
    wait_for("the break", lambda: endpoint.registry._nodes["hel1"].broken is not None, 5)
    assert time.monotonic() - started < 2
    assert any("broke" in reason for reason in endpoint.changes)


def test_revocation_bites_at_once_also_while_held(endpoint: EndpointThread, node: Speaker) -> None:
    node.beat()
    rev = endpoint.registry.set_desired("hel1", "home", [])
    answers: list[tuple[int, object]] = []
    held = threading.Thread(target=lambda: answers.append(node.ask("GET", f"/v1/desired?rev={rev}&wait=20")))
    held.start()
    wait_for("the request to be held", lambda: endpoint.registry._nodes["hel1"].held == 1)
    assert endpoint.registry.revoke("hel1")
    held.join(5)
    assert answers[0][0] == 403
    assert node.beat()[0] == 403
    request = csr(node.key)
    status, _ = node.ask("POST", "/v1/renew", _renewal(node, request))
    assert status == 403
    old = node.certificate
    node.certificate = ""
    time.sleep(0.01)
    node.join("hel1")
    assert node.beat()[0] == 200, "a new token lets it in again"
    assert old != node.certificate


def test_a_lost_store_lets_no_revoked_node_in(endpoint: EndpointThread, node: Speaker) -> None:
    endpoint.authority.set_revoked("hel1", time.time())
    fresh = Registry(endpoint.store, steady_now, revoked=endpoint.authority.revocations())
    certificate = x509.load_pem_x509_certificate(node.certificate.encode())
    identity = identity_of(certificate.public_bytes(serialization.Encoding.DER))
    with pytest.raises(IdentityRefused, match="revoked"):
        fresh.admit(identity)
    assert Registry(endpoint.store, steady_now).admit(identity) == "hel1"
    node.certificate = ""
    node.join("hel1")
    assert endpoint.authority.revocations() == {}


def test_renewal_works_with_an_expired_certificate(endpoint: EndpointThread, node: Speaker) -> None:
    expired = endpoint.authority.sign(csr(node.key), "home", "hel1", datetime.now(UTC) - timedelta(days=3))
    endpoint.registry._nodes["hel1"].record = endpoint.registry._nodes["hel1"].record.__class__("hel1")
    node.certificate = expired.pem
    with pytest.raises((ssl.SSLError, ConnectionError, OSError)):
        node.beat()
    node.certificate, old = "", expired.pem
    request = csr(node.key)
    message = _renewal(node, request) | {"certificate": old}
    status, answer = node.ask("POST", "/v1/renew", message)
    assert status == 200, answer
    node.certificate = answer["certificate"]
    assert node.beat()[0] == 200


def _renewal(node: Speaker, request: str) -> dict[str, object]:
    proof = base64.b64encode(node.key.sign(request.encode(), ec.ECDSA(hashes.SHA256()))).decode()
    return {"proto": 1, "csr": request, "certificate": node.certificate, "signature": proof}


def test_bad_messages_are_refused_in_words(endpoint: EndpointThread, node: Speaker) -> None:
    assert node.ask("POST", "/v1/heartbeat", b"not json")[0] == 422
    status, answer = node.beat(instances=[{"id": "a", "app": "a", "slot": 0, "rev": "r", "phase": "dancing"}])
    assert (status, "instances/0/phase" in answer["error"]) == (422, True)
    assert node.ask("POST", "/v1/heartbeat", b"x" * (2**20 + 1))[0] == 413
    assert node.ask("GET", "/v1/desired?wait=soon")[0] == 422
    assert node.ask("GET", "/nothing")[0] == 404
    assert node.beat(something_new={"a": 1})[0] == 200, "unknown fields are ignored"


def test_too_many_requests_of_one_node_are_slowed_down(endpoint: EndpointThread, node: Speaker) -> None:
    assert 429 in [node.beat()[0] for _ in range(60)]


def test_two_agents_cannot_speak_for_one_node(endpoint: EndpointThread, node: Speaker) -> None:
    assert [node.beat(boot_id=b)[0] for b in ("a", "b", "a")] == [200, 200, 409]
    endpoint.registry.flush()
    with endpoint.store.read() as tx:
        assert "conflict" in set(tx.scalars(select(events.c.kind)))


def test_log_lines_pass_through_and_end_when_nobody_reads(endpoint: EndpointThread, node: Speaker) -> None:
    node.beat()
    rev = endpoint.registry.set_desired("hel1", "home", [])

    async def read(count: int) -> list[object]:
        lines: list[object] = []
        async with endpoint.broker.ask("hel1", "logs", instance="a-0-1", tail=5, follow=True, since=0.0) as task:
            async for batch in task.batches():
                lines += [line["m"] for line in batch]
                if len(lines) >= count:
                    break
        return lines[:count]

    reading = asyncio.run_coroutine_threadsafe(read(2), endpoint.loop)
    status, answer = node.ask("GET", f"/v1/desired?rev={rev}&wait=10")
    (task,) = answer["tasks"]
    assert (status, task["instance"], task["follow"], "instances" in answer) == (200, "a-0-1", True, False)
    body = b"".join(json.dumps({"t": n, "s": "out", "m": f"line {n}"}).encode() + b"\n" for n in range(5))
    assert node.ask("POST", f"/v1/tasks/{task['id']}", body)[0] == 200
    assert reading.result(5) == ["line 0", "line 1"]
    assert node.ask("POST", f"/v1/tasks/{task['id']}", body)[0] == 404
    other = Speaker(endpoint)
    other.join("nbg1")
    assert other.ask("POST", f"/v1/tasks/{task['id']}", body)[0] == 404


def test_what_is_known_survives_a_restart_but_is_not_fresh(tmp_path: Path) -> None:
    first = EndpointThread(tmp_path)
    node = Speaker(first)
    node.join("hel1")
    node.beat()
    first.registry.views({}, Settings())
    first.registry.flush()
    first.close()
    second = EndpointThread(tmp_path)
    try:
        view = second.registry.views({}, Settings())["hel1"]
        assert (view.state, view.reported) == ("healthy", False)
        node.endpoint = second
        assert node.beat()[0] == 200, "its certificate is still good"
        assert second.registry.views({}, Settings())["hel1"].reported
    finally:
        second.close()


def test_times_are_the_engines_even_when_the_nodes_clock_is_not(endpoint: EndpointThread, node: Speaker) -> None:
    ahead = time.time() + 3600
    instance = {"id": "a-0-1", "app": "a", "slot": 0, "rev": "1", "phase": "running", "health": "healthy"}
    node.beat(clock=ahead, instances=[instance | {"since": ahead - 60, "healthy_since": ahead - 50}])
    (first,) = endpoint.registry.views({}, Settings())["hel1"].instances
    assert abs(time.time() - 50 - first.healthy_since) < 5
    node.beat(clock=time.time() - 3600, instances=[instance | {"since": ahead - 60, "healthy_since": ahead - 50}])
    (second,) = endpoint.registry.views({}, Settings())["hel1"].instances
    assert second.healthy_since == first.healthy_since, "a clock that jumps makes nothing younger or older"
