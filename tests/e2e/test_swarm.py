"""Apps on a real Docker Swarm of one machine: deployed, updated, scaled, reverted, repaired."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automator67.engine.judge import AppState
from automator67.engine.places.swarm.place import SwarmPlace
from tests.support.cloud import Cloud, wait_for
from tests.support.images import busybox
from tests.support.swarm import PrivateSwarm, swarm, web
from tests.support.swarm_tls import Authority

__all__ = ["busybox", "swarm"]

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def cloud(swarm: PrivateSwarm, tmp_path: Path) -> Iterator[Cloud]:
    """A cloud whose only node is the swarm."""
    swarm.clear()
    with Cloud(tmp_path, nodes=()) as cloud:
        cloud.poll = "1s"
        yield cloud
    swarm.clear()


def node(swarm: PrivateSwarm) -> dict[str, Any]:
    return {"nodes/cluster.yaml": {"kind": "swarm", "url": swarm.url}}


def deploy(cloud: Cloud, swarm: PrivateSwarm, **apps: Any) -> str:
    """Push apps and start the engine; return the commit, which is applied."""
    commit = cloud.push(cloud.base() | node(swarm) | {f"apps/{name}.yaml": app for name, app in apps.items()})
    cloud.start_engine()
    cloud.wait_commit(commit)
    return commit


def addresses(state: AppState) -> list[str]:
    return [str(i["address"]) for i in state.instances if i["healthy"] and i["address"]]


def steady(state: AppState) -> bool:
    """Whether everything is as it should be."""
    return (state.sync, state.health, state.drift) == ("synced", "healthy", "none")


def test_an_app_is_deployed_scaled_read_and_removed(cloud: Cloud, swarm: PrivateSwarm) -> None:
    stranger = swarm.client.create_service(
        {"ContainerSpec": {"Image": "busybox:1.36.1", "Args": ["sleep", "600"], "Init": True}}, name="stranger"
    )
    deploy(cloud, swarm, web=web("one"))
    state = cloud.wait_app("web", steady)
    assert [(i["slot"], i["node"], i["phase"], i["health"]) for i in state.instances] == [
        (0, "cluster", "running", "healthy"), (1, "cluster", "running", "healthy"),
    ]  # fmt: skip
    assert {swarm.fetch(a) for a in addresses(state)} == {"one"}
    spec = swarm.services(cloud.name)["web"]["Spec"]
    assert spec["UpdateConfig"] | {} == {
        "Parallelism": 1, "Delay": 500_000_000, "FailureAction": "rollback", "Monitor": 1_000_000_000,
        "MaxFailureRatio": 0, "Order": "start-first",
    }  # fmt: skip
    assert spec["TaskTemplate"]["Resources"]["Limits"] == {"NanoCPUs": 200_000_000, "MemoryBytes": 32 * 2**20}

    before = set(addresses(state))
    cloud.wait_commit(cloud.push({"apps/web.yaml": web("one", replicas=3)}))
    state = cloud.wait_app("web", lambda s: steady(s) and len(addresses(s)) == 3)
    assert before < set(addresses(state)), "scaling restarts nobody"

    lines = cloud.cli("logs", "web", "--json").stdout.splitlines()
    assert {json.loads(line)["m"] for line in lines} == {"up with one"}
    assert len({json.loads(line)["instance"] for line in lines}) == 3

    cloud.wait_commit(cloud.push({"apps/web.yaml": None}))
    wait_for("the service to go", lambda: not swarm.services(cloud.name))
    assert swarm.client.inspect_service(stranger["ID"])["Spec"]["Name"] == "stranger"


CLIENT = """
import http.client, json, sys, threading, time
# As a gateway does it: copies in turn, another one where a connection is refused.
addresses, lock, stop = json.loads(sys.stdin.readline()), threading.Lock(), threading.Event()
good, bad, words = 0, [], set()
def get(address):
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()
    finally:
        connection.close()
def load(n):
    global good
    while not stop.is_set():
        with lock: now = list(addresses)
        for k in range(len(now)):
            n += 1
            try:
                status, word = get(now[n % len(now)])
                break
            except ConnectionRefusedError:
                continue
            except Exception as e:
                status, word = 0, repr(e)
                break
        else:
            status, word = 0, "nobody accepts"
        with lock:
            if status == 200: good += 1; words.add(word)
            else: bad.append([status, word])
        time.sleep(0.002)
threads = [threading.Thread(target=load, args=(n,)) for n in range(8)]
for t in threads: t.start()
for line in sys.stdin:
    with lock: addresses[:] = json.loads(line)
stop.set()
for t in threads: t.join()
print(json.dumps({"good": good, "bad": bad, "words": sorted(words)}))
"""


def test_updates_under_load_lose_no_request(cloud: Cloud, swarm: PrivateSwarm) -> None:
    deploy(cloud, swarm, web=web("one"))
    state = cloud.wait_app("web", steady)
    client = swarm.inside(CLIENT)
    assert client.stdin is not None
    told: list[str] = []

    def feed(state: AppState | None) -> bool:
        found = addresses(state) if state else []
        if found and found != told:
            told[:] = found
            client.stdin.write(json.dumps(found) + "\n")  # type: ignore[union-attr]
            client.stdin.flush()  # type: ignore[union-attr]
        return True

    feed(state)
    for word in ("two", "three"):
        commit = cloud.push({"apps/web.yaml": web(word)})

        def applied(commit: str = commit) -> bool:
            feed(cloud.app("web"))
            record = cloud.commit(commit)
            return record is not None and record.state == "applied"

        wait_for(f"{word} to be applied", applied, 60)
    client.stdin.close()
    answer = json.loads(client.stdout.read())  # type: ignore[union-attr]
    client.wait(20)
    client.stdout.close()  # type: ignore[union-attr]
    assert answer["bad"] == [], f"{len(answer['bad'])} of {answer['good']} requests failed"
    assert answer["good"] > 200
    assert answer["words"] == ["one", "three", "two"]
    # One revision at a time was replaced by Swarm itself, not by two services beside each other.
    assert list(swarm.services(cloud.name)) == ["web"]


def test_a_bad_image_reverts_and_is_held(cloud: Cloud, swarm: PrivateSwarm) -> None:
    deploy(cloud, swarm, web=web("one"))
    good = cloud.wait_app("web", steady)
    commit = cloud.push({"apps/web.yaml": web("bad", image="busybox:nope")})
    record = cloud.wait_commit(commit, "failed")
    assert "image busybox:nope is not in the swarm and could not be pulled" in record.summary
    state = cloud.wait_app("web", lambda s: s.sync == "held" and s.health == "healthy" and len(s.instances) == 2)
    assert state.rev_running == good.rev_running
    assert set(addresses(state)) == set(addresses(good)), "the copies of before were never touched"
    # It is not tried again, and a new commit is.

    def finished() -> bool:
        status = swarm.services(cloud.name)["web"]["UpdateStatus"]
        return bool(status["State"] == "rollback_completed")

    wait_for("Swarm to finish", finished)
    version = swarm.services(cloud.name)["web"]["Version"]["Index"]
    cloud.wait_commit(cloud.push({"README.md": "hello"}))
    assert swarm.services(cloud.name)["web"]["Version"]["Index"] == version
    cloud.wait_commit(cloud.push({"apps/web.yaml": web("two")}))
    assert {swarm.fetch(a) for a in addresses(cloud.wait_app("web", steady))} == {"two"}


def test_changes_by_hand_are_repaired_or_reported(cloud: Cloud, swarm: PrivateSwarm) -> None:
    deploy(cloud, swarm, web=web("one"), kept=web("kept", replicas=1, drift="report"))
    cloud.wait_app("web", steady)
    cloud.wait_app("kept", steady)
    for app in ("web", "kept"):
        service = swarm.services(cloud.name)[app]
        spec = service["Spec"]
        spec["Mode"]["Replicated"]["Replicas"] += 1
        spec["TaskTemplate"]["ContainerSpec"]["Env"].append("ADDED=by hand")
        url = f"{swarm.client.base_url}/v{swarm.client.api_version}/services/{service['ID']}/update"
        answer = swarm.client.post(url, params={"version": service["Version"]["Index"]}, json=spec)
        assert answer.status_code == 200, answer.text

    def repaired() -> bool:
        spec = swarm.services(cloud.name)["web"]["Spec"]
        return spec["Mode"]["Replicated"]["Replicas"] == 2 and "ADDED=by hand" not in str(spec)

    wait_for("the repair", repaired)
    cloud.wait_app("web", steady)
    state = cloud.wait_app("kept", lambda s: s.drift == "drifted")
    assert set(state.instances[0]["drift"]) == {"replicas is 2, not 1", "env ADDED was added"}
    assert "ADDED=by hand" in str(swarm.services(cloud.name)["kept"]["Spec"])

    swarm.client.remove_service(swarm.services(cloud.name)["web"]["ID"])
    wait_for("the service to come back", lambda: "web" in swarm.services(cloud.name))
    cloud.wait_app("web", steady)


def test_an_engine_killed_half_way_finds_its_services(cloud: Cloud, swarm: PrivateSwarm) -> None:
    deploy(cloud, swarm, web=web("one"))
    commit = cloud.push({"apps/web.yaml": web("two"), "apps/more.yaml": web("more", replicas=1)})
    # Whenever it dies: before the act, in the middle of Swarm's own work, after it.
    for pause in (1.2, 0.4, 1.5):
        time.sleep(pause)
        cloud.kill("engine", signal.SIGKILL)
        cloud.start_engine()
    cloud.wait_commit(commit)
    cloud.wait_app("web", steady)
    assert sorted(s["Spec"]["Name"] for s in swarm.client.services()) == [
        f"a67-{cloud.name}-more", f"a67-{cloud.name}-web",
    ]  # fmt: skip
    # Also an engine that has lost its books takes over what it finds, and restarts nobody.
    before = set(addresses(cloud.wait_app("web", steady)))
    cloud.kill("engine", signal.SIGKILL)
    cloud.forget_store()
    cloud.start_engine()
    state = cloud.wait_app("web", lambda s: steady(s) and len(s.instances) == 2, 60)
    assert set(addresses(state)) == before


def test_a_manager_that_is_away_is_judged_like_an_agent(tmp_path: Path, swarm: PrivateSwarm, busybox: str) -> None:
    swarm.clear()
    with Cloud(tmp_path, nodes=("one",), runtime="docker") as cloud:
        cloud.poll = "1s"
        beat = {"interval": "1s", "suspect_after": "4s", "unavailable_after": "16s"}
        app = web("one", replicas=1, place={"spread": "none", "prefer": {"node": "cluster"}})
        files = {"automator67.yaml": {"name": cloud.name, "heartbeat": beat}, "apps/web.yaml": app}
        cloud.push(cloud.base() | node(swarm) | files)
        cloud.up()
        assert [i["node"] for i in cloud.wait_app("web", steady).instances] == ["cluster"]
        assert swarm.process is not None
        swarm.process.send_signal(signal.SIGSTOP)
        try:
            wait_for("the reason", lambda: "does not answer in time" in cloud.cli("node", "list", "--json").stdout)
            # Unreachable is not empty: for now the copy is believed to be where it was.
            assert (state := cloud.app("web")) is not None
            assert [i["node"] for i in state.instances] == ["cluster"]
            cloud.wait_app("web", lambda s: "one" in [i["node"] for i in s.instances if i["healthy"]], 60)
            assert "cluster" not in cloud.healthy_nodes()
        finally:
            swarm.process.send_signal(signal.SIGCONT)
        wait_for("the copy that was left behind to go", lambda: not swarm.services(cloud.name), 40)
        state = cloud.wait_app("web", lambda s: steady(s) and len(s.instances) == 1)
        assert state.instances[0]["node"] == "one"


def test_secrets_reach_a_swarm_over_tls_with_a_client_certificate(cloud: Cloud, swarm: PrivateSwarm) -> None:
    client = swarm.authority.sign("engine", server=False)
    for name, value in (("ca", swarm.authority.pem), ("certificate", client.certificate), ("key", client.key)):
        cloud.seal(f"swarm-{name}", value)
    cloud.seal("token", "first-token")
    cloud.seal("file", b"\x00first-file\n")
    tls = {name: {"secret": f"swarm-{name}"} for name in ("ca", "certificate", "key")}
    script = 'mkdir -p /w; cat "$FILE" > /w/f; echo "$TOKEN" > /w/index.html; exec httpd -f -p 8080 -h /w'
    app = web(
        "x", replicas=1, command=["sh", "-c", script], env={"TOKEN": {"secret": "token"}, "FILE": "/run/secrets/f"},
        files=[{"path": "/run/secrets/f", "secret": "file"}],
    )  # fmt: skip
    nodes = {"nodes/cluster.yaml": {"kind": "swarm", "url": swarm.tcp(), "tls": tls}}
    commit = cloud.push(cloud.base() | nodes | {"apps/web.yaml": app})
    cloud.start_engine()
    cloud.wait_commit(commit)
    (address,) = addresses(cloud.wait_app("web", steady))
    assert swarm.fetch(address) == "first-token"
    assert "first-file" in swarm.fetch(f"{address}/f")
    assert len(swarm.client.secrets()) == 1

    # Another value is another revision; what the first one needed goes with it.
    cloud.seal("file", b"second-file")
    cloud.wait_commit(cloud.push())
    (address,) = addresses(cloud.wait_app("web", steady))
    assert swarm.fetch(f"{address}/f") == "second-file"
    cloud.wait_commit(cloud.push({"apps/web.yaml": None}))
    wait_for("the secrets to go", lambda: not swarm.client.secrets())
    assert "first-token" not in cloud.log("engine")

    # Whoever has no certificate of the swarm's authority is refused, and the page says so.
    stranger = Authority().sign("stranger", server=False)
    cloud.seal("swarm-certificate", stranger.certificate)
    cloud.seal("swarm-key", stranger.key)
    cloud.push()
    wait_for("the reason", lambda: "refuses our certificate" in cloud.cli("node", "list", "--json").stdout)


def test_events_of_the_swarm_and_nothing_else_ask_for_a_look(swarm: PrivateSwarm) -> None:
    swarm.clear()
    heard: list[float] = []
    place = SwarmPlace("cluster", "events", swarm.url)
    try:
        place.watch(lambda: heard.append(time.monotonic()))
        check = {"Test": ["CMD", "true"], "Interval": 100_000_000}
        container = {"Image": "busybox:1.36.1", "Args": ["sleep", "600"], "Init": True, "Healthcheck": check}

        def noticed() -> bool:
            # Whoever begins to listen late has missed the first one.
            if not swarm.client.services():
                swarm.client.create_service({"ContainerSpec": container}, name="events")
            return len(heard) >= 3

        wait_for("events of a new service", noticed)
        wait_for("health", lambda: [t for t in swarm.client.tasks() if t["Status"]["State"] == "running"])
        time.sleep(1)
        before = len(heard)
        time.sleep(1.5)
        assert len(heard) == before, "a health check that passes is no news"
    finally:
        place.close()
        swarm.clear()


def test_what_a_swarm_cannot_do_is_said_in_the_plan(cloud: Cloud, swarm: PrivateSwarm) -> None:
    cloud.push(
        cloud.base()
        | node(swarm)
        | {"apps/db.yaml": web("db", replicas=1, volumes=[{"name": "data", "path": "/data"}])}
    )
    cloud.start_engine()
    state = cloud.wait_app("db", lambda s: s.sync == "blocked" and "volumes" in s.reason)
    assert "kind swarm may restart a copy on another machine, without its volumes" in state.reason
    assert not swarm.services(cloud.name)
    refused = cloud.cli("node", "token", "cluster", check=False)
    assert "node cluster is of kind swarm: no agent can join as it" in refused.stderr
