"""A cloud on a real Docker Engine: adoption, drift, the deletion budget, and what the plan says of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from automator67.engine.judge import AppState
from tests.support.cloud import Cloud, wait_for
from tests.support.images import busybox

__all__ = ["busybox"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
SLEEP = ["sleep", "100000"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), runtime="docker") as running:
        running.poll = "300ms"
        running.push(running.base(), "two nodes")
        running.up()
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    connected = docker.from_env()
    yield connected
    connected.close()


def sleeper(image: str, **keys: object) -> dict[str, object]:
    return {"image": image, "command": SLEEP, "resources": {"memory": "16Mi"}, "update": {"healthy_for": "0s"}} | keys


def synced(state: AppState) -> bool:
    return state.sync == "synced" and state.health == "healthy"


def containers(client: docker.DockerClient, cloud: Cloud, app: str) -> list[Container]:
    found: list[Container] = client.containers.list(
        ignore_removed=True, filters={"label": [f"a67.cloud={cloud.name}", f"a67.app={app}"]}
    )
    return found


def test_an_existing_container_is_taken_over_and_the_plan_is_then_empty(
    cloud: Cloud, client: docker.DockerClient, busybox: str
) -> None:
    name = f"old-{cloud.name}"
    old = client.containers.run(busybox, SLEEP, name=name, detach=True, init=True)
    try:
        cloud.files({"apps/old.yaml": sleeper(busybox, adopt=name)})
        cloud.git("add", "-A")
        cloud.git("commit", "-q", "-m", "adopt")
        planned = wait_for("the plan to adopt", lambda: _adopts(cloud))
        assert name in planned["actions"][0]["reason"]
        cloud.git("push", "-q", "origin", "HEAD:main")
        commit = cloud.git("rev-parse", "HEAD")
        assert cloud.wait_commit(commit).summary == "1 adopted"
        state = cloud.wait_app("old", synced)
        assert len(state.instances) == 1
        old.reload()
        assert old.status == "running"
        assert not containers(client, cloud, "old"), "nothing was made anew"
        done = cloud.cli("plan", "--repo", str(cloud.clone))
        assert (done.returncode, done.stdout.strip()) == (0, "nothing to do; 1 unchanged")
        commit = cloud.push({"apps/old.yaml": sleeper(busybox, adopt=name, env={"A": "b"})}, "change it")
        cloud.wait_commit(commit)
        assert len(containers(client, cloud, "old")) == 1, "a change replaces it like any other"
        wait_for(
            "the adopted one to be gone",
            lambda: not client.containers.list(ignore_removed=True, all=True, filters={"name": name}),
        )
        cloud.wait_commit(cloud.push({"apps/old.yaml": None}, "remove it"))
    finally:
        for left in client.containers.list(ignore_removed=True, all=True, filters={"name": name}):
            left.remove(force=True)


def _adopts(cloud: Cloud) -> Any:
    planned: dict[str, list[dict[str, str]]] = json.loads(
        cloud.cli("plan", "--repo", str(cloud.clone), "--json").stdout
    )
    return planned if any(a["verb"] == "adopt" for a in planned["actions"]) else None


def test_a_container_removed_by_hand_is_back_within_five_seconds(
    cloud: Cloud, client: docker.DockerClient, busybox: str
) -> None:
    cloud.wait_commit(cloud.push({"apps/web.yaml": sleeper(busybox)}, "web"))
    cloud.wait_app("web", synced)
    (before,) = containers(client, cloud, "web")
    before.remove(force=True)
    started = time.monotonic()
    wait_for("a new container", lambda: containers(client, cloud, "web"), 10)
    assert time.monotonic() - started < 5
    cloud.wait_app("web", synced)


def test_drift_that_is_only_reported_stays_and_is_shown(
    cloud: Cloud, client: docker.DockerClient, busybox: str
) -> None:
    cloud.wait_commit(cloud.push({"apps/web.yaml": sleeper(busybox, drift="report")}, "report drift"))
    cloud.wait_app("web", synced)
    (container,) = containers(client, cloud, "web")
    container.update(mem_limit="24m", memswap_limit="24m")
    state = cloud.wait_app("web", lambda s: s.drift == "drifted")
    assert "memory" in state.reason
    assert "only reported" in state.reason
    container.reload()
    assert container.attrs["HostConfig"]["Memory"] == 24 * 2**20
    cloud.wait_commit(cloud.push({"apps/web.yaml": sleeper(busybox)}, "repair drift"))
    cloud.wait_app("web", lambda s: synced(s) and s.drift == "none")


def test_a_commit_that_removes_too_much_waits_for_a_person(
    cloud: Cloud, client: docker.DockerClient, busybox: str
) -> None:
    many = {f"apps/w{n}.yaml": sleeper(busybox) for n in range(5)}
    cloud.wait_commit(cloud.push(many, "five more"))
    commit = cloud.push(dict.fromkeys(many), "remove five at once")
    state = cloud.wait_app("w0", lambda s: s.sync == "out-of-sync")
    assert "removes 5 apps and limits.deletions is 3" in state.reason
    assert len(containers(client, cloud, "w0")) == 1
    assert cloud.cli("sync").returncode == 1
    cloud.cli("sync", "--confirm-deletions")
    cloud.wait_commit(commit)
    wait_for("all five to be gone", lambda: not any(containers(client, cloud, f"w{n}") for n in range(5)))


def test_a_volume_keeps_the_app_on_its_node_and_outlives_it(
    cloud: Cloud, client: docker.DockerClient, busybox: str
) -> None:
    script = "echo $GREETING >> /data/log; exec sleep 100000"
    db = sleeper(
        busybox, volumes=[{"name": "data", "path": "/data"}], command=["sh", "-c", script], env={"GREETING": "one"}
    )
    cloud.wait_commit(cloud.push({"apps/db.yaml": db}, "db"))
    first = cloud.wait_app("db", synced).instances[0]["node"]
    cloud.wait_commit(cloud.push({"apps/db.yaml": db | {"env": {"GREETING": "two"}}}, "db again"))
    state = cloud.wait_app("db", synced)
    assert [i["node"] for i in state.instances] == [first]
    (container,) = containers(client, cloud, "db")
    assert container.exec_run(["cat", "/data/log"]).output.split() == [b"one", b"two"]
    cloud.wait_commit(cloud.push({"apps/db.yaml": None}, "no db"))
    volumes = [v.name for v in client.volumes.list(filters={"label": f"a67.cloud={cloud.name}"})]
    assert len(volumes) == 1
    cloud.wait_commit(cloud.push({"apps/db.yaml": db | {"env": {"GREETING": "three"}}}, "db is back"))
    state = cloud.wait_app("db", synced)
    assert state.instances[0]["node"] == first, "it goes where its data is"
    (container,) = containers(client, cloud, "db")
    assert container.exec_run(["cat", "/data/log"]).output.split() == [b"one", b"two", b"three"]
    cloud.wait_commit(cloud.push({"apps/db.yaml": None}, "no db"))
    wait_for("the volume to be free", lambda: not containers(client, cloud, "db"))
    client.volumes.get(volumes[0]).remove()
