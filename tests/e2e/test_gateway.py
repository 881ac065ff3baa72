"""One URL per app with real parts: push, and the gateway serves it wherever its copies are."""

from __future__ import annotations

import json
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import Cloud, http_app, wait_for
from tests.support.edge import Reply, ask


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud")) as c:
        c.poll = "1s"
        c.push(c.base() | {"nodes/one.yaml": {"kind": "agent", "gateway": True}})
        c.up()
        # Now, with both nodes there: an app is started as soon as one can take it.
        c.push({"apps/web.yaml": web("first")})
        yield c


def web(greeting: str, **keys: Any) -> dict[str, Any]:
    return http_app(greeting, replicas=2, domain="web.test") | keys


def get(cloud: Cloud, host: str, path: str = "/", **headers: str) -> Reply:
    """Ask the gateway as somebody who trusts the cloud's CA; status 0 while it does not answer."""
    home = cloud.agent_state("one") / "edge"
    try:
        port = json.loads((home / "status.json").read_text())["https"]
        return ask(port, (home / "ca.pem").read_text(), host, path, **headers)
    except (OSError, ssl.SSLError, KeyError, ValueError):
        return Reply(b"")


def test_a_pushed_app_answers_at_its_name_from_both_nodes(cloud: Cloud) -> None:
    wait_for("the gateway to answer", lambda: get(cloud, "web.test").status == 200)
    cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy")
    assert get(cloud, "web.test").text == "first"
    nodes = {i["node"] for i in cloud.app("web").instances}  # type: ignore[union-attr]
    assert nodes == {"one", "two"}

    def both() -> bool:
        get(cloud, "web.test", "/here")
        return all("/here" in logs(cloud, n) for n in ("one", "two"))

    wait_for("both copies to get requests", both)


def logs(cloud: Cloud, node: str) -> str:
    return "".join(p.read_text() for p in (cloud.agent_state(node) / "instances").glob("web-*/out.log"))


def test_a_name_nobody_declared_gets_no_certificate(cloud: Cloud) -> None:
    assert get(cloud, "other.test").status == 0


def test_an_update_is_seen_and_loses_nothing(cloud: Cloud) -> None:
    seen: Counter[tuple[int, str]] = Counter()
    commit = cloud.push({"apps/web.yaml": web("second")}, "second")

    def there() -> bool:
        reply = get(cloud, "web.test")
        seen[(reply.status, reply.text)] += 1
        state = cloud.commit(commit)
        return state is not None and state.state == "applied"

    wait_for("the update", there, 60)
    assert {status for status, _ in seen} == {200}, seen
    wait_for("only the new one", lambda: {get(cloud, "web.test").text for _ in range(5)} == {"second"})


def test_rules_come_with_the_commit_and_go(cloud: Cloud) -> None:
    domains = [
        {"name": "web.test"},
        {"name": "old.test", "redirect_to": "web.test"},
        {"name": "api.test", "path": "/v1"},
    ]
    app = web("second") | {"domains": domains, "auth": {"allow": ["192.0.2.0/24"]}}
    del app["domain"]
    cloud.push({"apps/web.yaml": app}, "rules")
    wait_for("the allow-list", lambda: get(cloud, "web.test").status == 403)
    del app["auth"]
    cloud.push({"apps/web.yaml": app}, "without the allow-list")
    wait_for("the app again", lambda: get(cloud, "web.test").status == 200)
    wait_for("the redirect", lambda: get(cloud, "old.test", "/x?y=1").status == 308)
    assert get(cloud, "old.test", "/x?y=1").headers["location"] == "https://web.test/x?y=1"
    assert get(cloud, "api.test", "/v1/x").status == 200
    assert get(cloud, "api.test", "/v2").status == 404


def test_the_gateway_serves_while_engine_and_agents_are_away(cloud: Cloud) -> None:
    cloud.kill("engine")
    cloud.kill("agent-one")
    cloud.kill("agent-two")
    assert [get(cloud, "web.test").status for _ in range(10)] == [200] * 10
    cloud.start_engine()
    for node in cloud.nodes:
        cloud.start_agent(node)
    wait_for("all nodes", lambda: cloud.healthy_nodes() == {"one", "two"})
    assert get(cloud, "web.test").status == 200


def test_without_a_gateway_there_is_no_proxy(cloud: Cloud) -> None:
    pids = [int((cloud.agent_state(n) / "edge" / "lock").read_text()) for n in cloud.nodes]
    cloud.push({"nodes/one.yaml": {"kind": "agent"}}, "no gateway")
    wait_for("the edges to end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    with socket.socket() as s:
        port = json.loads((cloud.agent_state("one") / "edge" / "ports.json").read_text())["https"]
        wait_for("the port to be free", lambda: s.connect_ex(("127.0.0.1", port)) != 0)
