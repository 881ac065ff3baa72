"""Nodes that are drained, cordoned or in maintenance: enough replicas at every moment, and words that say so."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from automator67.engine.judge import AppState
from tests.support.cloud import Cloud, http_app, wait_for

pytestmark = [pytest.mark.timeout(180)]
REPLICAS = 3
EMPTY = "drained: nothing of ours runs here"


@pytest.fixture
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud")) as running:
        running.poll = "300ms"
        running.push(running.base() | {"apps/web.yaml": http_app("hello", replicas=REPLICAS)}, "two nodes")
        running.up()
        running.wait_app("web", synced)
        yield running


def synced(state: AppState) -> bool:
    return state.sync == "synced" and state.health == "healthy"


def nodes(cloud: Cloud) -> dict[str, dict[str, str]]:
    return {n["name"]: n for n in json.loads(cloud.cli("node", "list", "--json").stdout)}


class Load(threading.Thread):
    """Asks every address that was ever known, again and again, and counts at each moment how many answer."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(daemon=True)
        self._cloud = cloud
        self._over = threading.Event()
        self.fewest, self.rounds = REPLICAS, 0

    def run(self) -> None:
        known: set[str] = set()
        with httpx.Client(timeout=2.0) as client:
            while not self._over.is_set():
                state = self._cloud.app("web")
                known |= {str(i["address"]) for i in state.instances if i["address"]} if state else set()
                answers = sum(self._answers(client, address) for address in known)
                self.fewest, self.rounds = min(self.fewest, answers), self.rounds + 1

    @staticmethod
    def _answers(client: httpx.Client, address: str) -> bool:
        try:
            return client.get(f"http://{address}/").status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        self._over.set()
        self.join(20)


def test_a_drained_node_is_emptied_without_a_moment_of_too_few(cloud: Cloud) -> None:
    load = Load(cloud)
    load.start()
    try:
        commit = cloud.push({"nodes/two.yaml": {"kind": "agent", "drain": True}}, "empty two")
        cloud.wait_commit(commit)
        state = cloud.wait_app("web", lambda s: synced(s) and {i["node"] for i in s.instances} == {"one"})
        wait_for(
            "the word that it is empty", lambda: nodes(cloud)["two"]["reason"] == "drained: nothing of ours runs here"
        )
    finally:
        load.stop()
    assert len(state.instances) == REPLICAS
    assert load.rounds > 5
    assert load.fewest >= REPLICAS
    cloud.push({"nodes/two.yaml": {"kind": "agent", "schedulable": False}}, "only cordoned")
    wait_for("the cordon", lambda: nodes(cloud)["two"]["reason"] == "cordoned: schedulable: false")
    state = cloud.app("web") or pytest.fail("no app")
    assert {i["node"] for i in state.instances} == {"one"}


def test_an_app_with_a_volume_stays_on_a_drained_node_and_the_plan_says_so(cloud: Cloud) -> None:
    pinned = http_app("kept") | {"volumes": [{"name": "data", "path": "/data"}], "place": {"require": {"node": "two"}}}
    cloud.push({"apps/db.yaml": pinned}, "data")
    before = cloud.wait_app("db", synced).instances
    cloud.push({"nodes/two.yaml": {"kind": "agent", "drain": True}}, "empty two")
    state = cloud.wait_app("db", lambda s: s.sync == "blocked")
    assert "volume" in state.reason
    assert "drain" in state.reason
    assert [(i["id"], i["node"]) for i in state.instances] == [(i["id"], i["node"]) for i in before]
    wait_for("the rest to leave", lambda: nodes(cloud)["two"]["reason"] == "draining: 1 copy is still here")
    assert httpx.get(f"http://{state.instances[0]['address']}/").text == "kept"


def test_a_maintenance_window_drains_excuses_silence_and_ends(cloud: Cloud) -> None:
    begin = datetime.now(UTC) - timedelta(minutes=1)
    window = {"from": f"{begin:%Y-%m-%dT%H:%M:%S}", "for": "1h", "drain": True}
    cloud.push({"nodes/two.yaml": {"kind": "agent", "maintenance": [window]}}, "maintenance")
    cloud.wait_app("web", lambda s: synced(s) and {i["node"] for i in s.instances} == {"one"})
    until = f"maintenance until {begin + timedelta(hours=1):%Y-%m-%d %H:%M} UTC"
    wait_for(
        "the window to be shown",
        lambda: nodes(cloud)["two"]["reason"] == f"{until}; drained: nothing of ours runs here",
    )
    cloud.kill("agent-two")
    wait_for("its silence to be excused", lambda: nodes(cloud)["two"]["state"] == "maintenance")
    assert nodes(cloud)["two"]["reason"] == until
    assert cloud.cli("status").returncode == 0
    ends = datetime.now(UTC) + timedelta(seconds=4)
    window = {"from": f"{begin:%Y-%m-%dT%H:%M:%S}", "for": f"{round((ends - begin).total_seconds())}s"}
    began = time.monotonic()
    cloud.push({"nodes/two.yaml": {"kind": "agent", "maintenance": [window]}}, "shorter")
    wait_for("the end of the window by itself", lambda: nodes(cloud)["two"]["state"] == "suspect", 20)
    assert time.monotonic() - began < 15
    cloud.start_agent("two")
    wait_for("the node to be back", lambda: nodes(cloud)["two"]["state"] == "healthy")
