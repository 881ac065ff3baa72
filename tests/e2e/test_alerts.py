"""Somebody is told: nodes that are lost, revisions that are held, over crashes and targets in trouble, once each."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from automator67.engine.crash import ALERT_POINTS
from tests.support.cloud import Cloud, http_app, wait_for
from tests.support.sinks import Hook, Mail

pytestmark = pytest.mark.timeout(300)
NODES = ("one", "two", "three", "four", "five", "six")
"""Each test loses another one: a node that falls again and again is trusted ever later."""
BEAT = {"interval": "500ms", "suspect_after": "1500ms", "failing_after": "2500ms", "unavailable_after": "4s"}


@pytest.fixture(scope="module")
def mail() -> Iterator[Mail]:
    one = Mail()
    yield one
    one.close()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, hook: Hook, mail: Mail) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("alerts"), nodes=NODES) as cloud:
        cloud.poll = "1s"
        cloud.seal("hook", hook.url)
        alerts = [
            {"to": {"secret": "hook"}, "group": "1s"},
            {"to": mail.url, "group": "1s", "resources": {"kind": "node"}, "severity": "critical"},
        ]
        settings = {"name": cloud.name, "heartbeat": BEAT, "alerts": alerts}
        web = http_app(replicas=2, update={"healthy_for": "0s", "deadline": "5s"})
        cloud.push(cloud.base() | {"automator67.yaml": settings, "apps/web.yaml": web})
        cloud.up()
        yield cloud


@pytest.fixture(autouse=True)
def _well(cloud: Cloud, hook: Hook, mail: Mail) -> None:
    hook.status, hook.delay = 200, 0.0
    if "engine" not in cloud.processes:
        cloud.start_engine()
    for node in NODES:
        if f"agent-{node}" not in cloud.processes:
            cloud.start_agent(node)
    wait_for("all nodes to be trusted", lambda: cloud.healthy_nodes() >= set(NODES), 90)
    cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy", 60)
    wait_for("no incident", lambda: alerts(cloud)["incidents"] == [], 60)
    hook.taken.clear()
    hook.seen.clear()
    mail.taken.clear()


def alerts(cloud: Cloud) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads(cloud.cli("alerts", "--json", check=False).stdout)
    return found


def about(hook: Hook, kind: str, resource: str) -> list[str]:
    """Return the ids of all messages of a kind about a resource."""
    return [m["id"] for m in hook.taken if m["kind"] == kind and resource in [i["resource"] for i in m["incidents"]]]


def test_a_lost_node_is_told_once_and_once_that_it_is_back(cloud: Cloud, hook: Hook, mail: Mail) -> None:
    cloud.kill("agent-three")
    wait_for("the alert", lambda: about(hook, "problem", "node/three"), 30)
    wait_for("the mail", lambda: mail.taken, 30)
    assert mail.taken[0]["subject"] == f"[{cloud.name}] node/three failing"
    cloud.cli("alerts", "silence", "app/web", "--for", "1s", "--dry-run")
    listed = cloud.cli("alerts", check=False)
    assert listed.returncode == 1
    assert "node/three" in listed.stdout
    cloud.start_agent("three")
    wait_for("the end of it", lambda: about(hook, "resolved", "node/three"), 60)
    wait_for("the second mail", lambda: len(mail.taken) == 2, 30)
    assert mail.taken[1]["subject"] == f"[{cloud.name}] resolved: node/three"
    assert len(about(hook, "problem", "node/three")) == len(about(hook, "resolved", "node/three")) == 1
    # Its app had nothing to be told of: the node explains it.
    assert not about(hook, "problem", "app/web")
    assert len(mail.taken) == 2


@pytest.mark.parametrize(("crash", "node"), [(ALERT_POINTS[0], "four"), (ALERT_POINTS[1], "five")])
def test_an_engine_that_is_killed_while_it_tells_tells_it_all_the_same(
    cloud: Cloud, hook: Hook, crash: str, node: str
) -> None:
    cloud.kill("engine")
    process = cloud.start_engine(A67_CRASH_AT=crash)
    wait_for("trust", lambda: cloud.healthy_nodes() >= set(NODES), 60)
    cloud.kill(f"agent-{node}")
    wait_for("the crash", lambda: process.poll() is not None, 120)
    assert process.poll() == -signal.SIGKILL
    cloud.processes.pop("engine")
    cloud.start_engine()
    wait_for("the alert", lambda: about(hook, "problem", f"node/{node}"), 150)
    cloud.start_agent(node)
    wait_for("the end of it", lambda: about(hook, "resolved", f"node/{node}"), 90)
    # At least once: killed after it was sent, it comes again, and its id says that it is the same.
    assert len(set(about(hook, "problem", f"node/{node}"))) == 1
    assert len(set(about(hook, "resolved", f"node/{node}"))) == 1


def test_a_target_in_trouble_delays_nobody_else_and_is_told_later(cloud: Cloud, hook: Hook, mail: Mail) -> None:
    hook.status = 503
    cloud.kill("agent-six")
    wait_for("the mail", lambda: mail.taken, 30)
    wait_for("a try", lambda: hook.seen, 30)
    failing = wait_for("the failure to show", lambda: alerts(cloud)["failing"])
    assert failing[0]["target"] == "hook"
    assert "503" in str(failing[0]["error"])
    cloud.start_agent("six")
    wait_for("the second mail", lambda: len(mail.taken) == 2, 60)
    assert not hook.taken
    hook.status = 200
    wait_for("both messages", lambda: len(hook.taken) == 2, 120)
    assert [m["kind"] for m in hook.taken] == ["problem", "resolved"], "in order"
    text = cloud.log("engine") + json.dumps(alerts(cloud)) + (cloud.cli("history", "--json").stdout)
    assert "s3cret" not in text


def test_a_held_revision_is_told_with_the_reason(cloud: Cloud, hook: Hook) -> None:
    bad = http_app("bad", replicas=2, update={"healthy_for": "0s", "deadline": "5s"}) | {"command": ["sleep", "600"]}
    cloud.push({"apps/web.yaml": bad}, "never healthy")
    wait_for("the alert", lambda: about(hook, "problem", "app/web"), 90)
    message = next(m for m in hook.taken if m["kind"] == "problem")
    told = {i["resource"]: i["state"] for i in message["incidents"]}
    assert told["app/web"] == "held"
    assert "5s" in message["text"] or "deadline" in message["text"]
    good = http_app("good", replicas=2, update={"healthy_for": "0s", "deadline": "5s"})
    cloud.wait_commit(cloud.push({"apps/web.yaml": good}, "good again"), seconds=90)
    wait_for("the end of it", lambda: about(hook, "resolved", "app/web"), 60)
    assert len(about(hook, "problem", "app/web")) == 1


def test_a_commit_that_is_refused_is_told(cloud: Cloud, hook: Hook) -> None:
    before = cloud.git("rev-parse", "HEAD").strip()
    commit = cloud.push({"apps/web.yaml": {"imag": "typo"}}, "a typo")
    wait_for("the alert", lambda: about(hook, "problem", f"commit/{commit[:12]}"), 60)
    assert "refused: apps/web.yaml:" in hook.taken[0]["text"]
    cloud.git("checkout", "-q", before, "--", "apps/web.yaml")
    cloud.push({}, "as before")
    wait_for("the end of it", lambda: about(hook, "resolved", f"commit/{commit[:12]}"), 60)


def test_all_nodes_away_at_once_is_one_alert_about_our_own_network(cloud: Cloud, hook: Hook) -> None:
    for node in NODES:
        cloud.processes[f"agent-{node}"].send_signal(signal.SIGSTOP)
    try:
        wait_for("the alert", lambda: about(hook, "problem", "engine/network"), 60)
        assert "the engine's own network is the suspect" in hook.taken[0]["text"]
        assert not any(about(hook, "problem", f"node/{node}") for node in NODES)
    finally:
        for node in NODES:
            cloud.processes[f"agent-{node}"].send_signal(signal.SIGCONT)
    wait_for("the end of it", lambda: about(hook, "resolved", "engine/network"), 90)
    assert len(hook.taken) == 2, hook.titles()


def test_silences_and_tests_by_the_command_line(cloud: Cloud, hook: Hook) -> None:
    assert "was told" in cloud.cli("alerts", "test", "hook").stdout
    assert hook.taken[0]["title"] == f"[{cloud.name}] a test"
    hook.taken.clear()
    wrong = cloud.cli("alerts", "test", "hok", check=False)
    assert wrong.returncode == 255
    assert "did you mean hook" in wrong.stderr
    wrong = cloud.cli("alerts", "silence", "node/tw", check=False)
    assert "did you mean node/two" in wrong.stderr
    cloud.cli("alerts", "silence", "node/two", "--for", "1h", "--reason", "new disk")
    assert alerts(cloud)["silences"][0]["reason"] == "new disk"
    cloud.kill("agent-two")
    wait_for("the incident", lambda: [i for i in alerts(cloud)["incidents"] if i["state"] == "unavailable"], 60)
    assert not hook.taken
    cloud.cli("alerts", "unsilence", "node/two")
    wait_for("the alert", lambda: about(hook, "problem", "node/two"), 30)
    assert cloud.cli("alerts", "unsilence", "node/two", check=False).returncode == 255
