"""What is noticed when, and what is done: agents and nodes killed, links that are bad, an engine that is away."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from automator67.agent import proctable
from automator67.engine.store.nodes import NodeRecord, node_records
from automator67.engine.store.tables import events
from tests.support.cloud import Cloud, http_app, wait_for
from tests.support.copies import running_processes
from tests.support.relay import Relay
from tests.support.sinks import Hook

pytestmark = pytest.mark.timeout(300)
NODES = ("one", "two", "three", "four")
BEAT = {"interval": "500ms", "suspect_after": "1500ms", "failing_after": "2500ms", "unavailable_after": "4s"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("health"), nodes=NODES) as cloud:
        cloud.poll = "1s"
        alerts = [{"to": hook.url, "group": "1s", "repeat": "0s"}]
        settings = {"name": cloud.name, "heartbeat": BEAT, "alerts": alerts}
        cloud.push(cloud.base() | {"automator67.yaml": settings, "apps/web.yaml": http_app(replicas=2)})
        cloud.up()
        yield cloud


@pytest.fixture(autouse=True)
def _well(cloud: Cloud) -> None:
    for node in NODES:
        if f"agent-{node}" not in cloud.processes:
            cloud.start_agent(node)
    wait_for("all nodes to be trusted", lambda: cloud.healthy_nodes() >= set(NODES), 90)
    cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy", 60)


def record(cloud: Cloud, node: str) -> NodeRecord:
    with cloud.store.read() as tx:
        return next(r for r in node_records(tx) if r.name == node)


def states_told(cloud: Cloud, since: float) -> list[tuple[float, str, str]]:
    """Return (when, what, which node) of every change of state since a moment."""
    with cloud.store.read() as tx:
        rows = list(
            tx.execute(
                select(events).where(events.c.at >= since, events.c.resource.like("node/%"), events.c.kind != "alert")
            )
        )
    return sorted((e.at, e.kind, e.resource.removeprefix("node/")) for e in rows)


def pids(cloud: Cloud) -> dict[int, str]:
    """Return every process of the app, with the node that runs it."""
    return {pid: stamp["A67_NODE"] for pid, stamp in running_processes(cloud.name).items()}


def home(cloud: Cloud) -> str:
    """Return a node that runs a copy."""
    return next(iter(pids(cloud).values()))


def test_a_killed_agent_is_noticed_within_two_seconds_and_found_again(cloud: Cloud) -> None:
    node, before = home(cloud), pids(cloud)
    killed = time.time()
    cloud.kill(f"agent-{node}")
    wait_for("the suspicion", lambda: record(cloud, node).state == "suspect", 10)
    assert record(cloud, node).state_since - killed < 2.0
    cloud.start_agent(node)
    wait_for("trust", lambda: record(cloud, node).state == "healthy", 30)
    assert pids(cloud) == before, "what runs was not touched"


def test_a_killed_node_is_replaced_and_nothing_bounces_when_it_returns(cloud: Cloud) -> None:
    node = home(cloud)
    began = time.time()
    cloud.kill(f"agent-{node}")
    for pid, where in pids(cloud).items():
        if where == node:
            os.kill(pid, signal.SIGKILL)
    wait_for("the verdict", lambda: record(cloud, node).state == "unavailable", 20)
    cloud.wait_app("web", lambda s: s.replicas_healthy == 2 and s.health == "healthy", 30)
    told = [(what, at) for at, what, name in states_told(cloud, began) if name == node]
    assert [what for what, _ in told] == ["suspect", "failing", "unavailable"]
    gone = told[-1][1]
    assert gone - began < 4.0 + 2.5, "silent since at most a heartbeat before"
    fresh = [p for p, where in pids(cloud).items() if where != node]
    assert len(fresh) == 2
    started = [process.started for p in fresh if (process := proctable.look(p)) is not None]
    assert max(started) - gone < 10.0
    before = pids(cloud)
    cloud.start_agent(node)
    wait_for("trust", lambda: record(cloud, node).state == "healthy", 30)
    assert pids(cloud) == before


def test_all_nodes_away_at_once_accuse_the_engine(cloud: Cloud) -> None:
    before, began = pids(cloud), time.time()
    for node in NODES:
        cloud.processes[f"agent-{node}"].send_signal(signal.SIGSTOP)
    try:
        wait_for("doubt", lambda: "engine's own network" in record(cloud, "one").state_reason, 20)
        time.sleep(3.0)
        assert {what for _, what, _ in states_told(cloud, began)} <= {"suspect"}
    finally:
        for node in NODES:
            cloud.processes[f"agent-{node}"].send_signal(signal.SIGCONT)
    wait_for("trust", lambda: cloud.healthy_nodes() >= set(NODES), 60)
    assert pids(cloud) == before


@pytest.mark.long
def test_an_engine_that_was_away_gives_nobody_up(cloud: Cloud) -> None:
    before, began = pids(cloud), time.time()
    cloud.kill("engine")
    time.sleep(8.0)
    cloud.start_engine()
    wait_for("trust", lambda: cloud.healthy_nodes() >= set(NODES), 60)
    cloud.wait_app("web", lambda s: s.health == "healthy", 30)
    assert "unavailable" not in {what for _, what, _ in states_told(cloud, began)}
    assert pids(cloud) == before


@pytest.mark.long
def test_an_engine_that_hangs_gives_nobody_up(cloud: Cloud) -> None:
    before, began = pids(cloud), time.time()
    cloud.processes["engine"].send_signal(signal.SIGSTOP)
    time.sleep(10.0)
    cloud.processes["engine"].send_signal(signal.SIGCONT)
    wait_for("trust", lambda: cloud.healthy_nodes() >= set(NODES), 60)
    assert "unavailable" not in {what for _, what, _ in states_told(cloud, began)}
    assert pids(cloud) == before


@pytest.mark.long
def test_a_node_that_flaps_is_trusted_late_and_keeps_what_it_runs(cloud: Cloud) -> None:
    node, before = home(cloud), pids(cloud)
    for _ in range(5):
        cloud.kill(f"agent-{node}")
        wait_for("the suspicion", lambda: record(cloud, node).state not in ("healthy", "recovering"), 10)
        cloud.start_agent(node)
        wait_for("a sign of life", lambda: record(cloud, node).state in ("healthy", "recovering"), 20)
    assert "flapping" in record(cloud, node).state_reason
    cloud.push({"apps/more.yaml": http_app("more", replicas=4)})
    cloud.wait_app("more", lambda s: s.health == "healthy", 40)
    where = {i["node"] for i in cloud.app("more").instances}  # type: ignore[union-attr]
    assert node not in where or record(cloud, node).state == "healthy"
    assert before.items() <= pids(cloud).items()
    cloud.push({"apps/more.yaml": None})
    wait_for("the end of the other app", lambda: pids(cloud) == before, 40)


@pytest.mark.long
def test_a_slow_link_that_breaks_gives_nobody_up(cloud: Cloud) -> None:
    node, before = home(cloud), pids(cloud)
    relay = Relay(("127.0.0.1", cloud.listen))
    cloud.kill(f"agent-{node}", signal.SIGTERM)
    membership = cloud.agent_state(node) / "agent.json"
    doc = json.loads(membership.read_text())
    try:
        membership.write_text(json.dumps(doc | {"engine": f"https://127.0.0.1:{relay.port}"}))
        cloud.start_agent(node)
        wait_for("trust", lambda: record(cloud, node).state == "healthy", 60)
        began = time.time()
        relay.delay, relay.loss = 0.1, 0.03
        time.sleep(20.0)
        assert relay.broken > 2
        assert "unavailable" not in {what for _, what, name in states_told(cloud, began) if name == node}
        assert pids(cloud) == before
    finally:
        relay.delay = relay.loss = 0.0
        cloud.kill(f"agent-{node}", signal.SIGTERM)
        membership.write_text(json.dumps(doc))
        relay.close()


@pytest.mark.long
def test_an_app_that_takes_too_much_memory_is_not_called_healthy(cloud: Cloud) -> None:
    eat = "import os,time\nhoard=[]\nwhile True:\n    hoard.append(b'x' * 2**20)\n    time.sleep(0.01)\n"
    greedy = http_app() | {
        "command": ["python3", "-c", eat],
        "resources": {"memory": "32Mi"},
        "update": {"drain": "0s"},
    }
    greedy.pop("health")
    greedy["update"] = {"healthy_for": "0s", "deadline": "20s"}
    cloud.push({"apps/greedy.yaml": greedy})
    state = cloud.wait_app("greedy", lambda s: s.health == "missing" and "ended 5 times" in s.reason, 90)
    assert "within 10m, last: " in state.reason
    cloud.push({"apps/greedy.yaml": None})
    wait_for("its end", lambda: cloud.app("greedy") is None, 40)


def test_of_all_this_everybody_was_told_once_and_once_that_it_was_over(hook: Hook) -> None:
    wait_for("the end of every incident", lambda: not hook.lasting(), 60)
    assert not hook.wrongly_told()
    told = {i["resource"] for m in hook.taken if m["kind"] == "problem" for i in m["incidents"]}
    assert any(resource.startswith("node/") for resource in told)
