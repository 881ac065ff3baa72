"""Apps built from git sources on a real Docker Engine: built once, followed, held when a build fails."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from automator67.engine.judge import AppState
from tests.support.cloud import GIT, Cloud, wait_for
from tests.support.images import busybox
from tests.support.private_docker import PrivateDocker, private_docker

__all__ = ["busybox", "private_docker"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), nodes=("one",), runtime="docker") as running:
        running.poll = "300ms"
        running.push(running.base(), "a node")
        running.up()
        yield running


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    connected = docker.from_env()
    yield connected
    connected.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    subprocess.run([*GIT, "init", "-q", "-b", "main", str(place)], check=True)
    return place


def commit(source: Path, files: dict[str, str]) -> str:
    """Write files and commit them; return the commit."""
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    subprocess.run([*GIT, "add", "-A"], cwd=source, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "change"], cwd=source, check=True)
    return subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=source, check=True, capture_output=True, text=True).stdout


def dockerfile(base: str, greeting: str) -> str:
    return f'FROM {base}\nCOPY greeting /greeting\nRUN echo made with {greeting}\nCMD ["sleep", "100000"]\n'


def built(source: Path, **keys: object) -> dict[str, object]:
    return {
        "source": {"git": str(source), "path": "app"},
        "resources": {"memory": "16Mi"},
        "update": {"healthy_for": "0s"},
    } | keys


def healthy(state: AppState) -> bool:
    return state.sync == "synced" and state.health == "healthy"


def greeting(client: docker.DockerClient, cloud: Cloud, app: str) -> str:
    labels = [f"a67.cloud={cloud.name}", f"a67.app={app}"]
    found = client.containers.list(ignore_removed=True, filters={"label": labels})
    return found[0].exec_run(["cat", "/greeting"]).output.decode().strip() if len(found) == 1 else ""


def test_a_source_is_built_and_run_and_a_moved_branch_rolls_the_app(
    cloud: Cloud, client: docker.DockerClient, busybox: str, source: Path
) -> None:
    app = f"src-{cloud.name}"
    try:
        commit(source, {"app/Dockerfile": dockerfile(busybox, "one"), "app/greeting": "one\n"})
        pushed = cloud.push({f"apps/{app}.yaml": built(source)}, "a source")
        cloud.wait_commit(pushed, seconds=60)
        cloud.wait_app(app, healthy)
        assert greeting(client, cloud, app) == "one"
        assert "made with one" in cloud.cli("logs", app, "--build").stdout
        planned = cloud.cli("plan", "--repo", str(cloud.clone))
        assert (planned.returncode, planned.stdout.strip()) == (0, "nothing to do; 1 unchanged")

        commit(source, {"app/Dockerfile": dockerfile(busybox, "two"), "app/greeting": "two\n"})
        wait_for("the new source to run", lambda: greeting(client, cloud, app) == "two", 60)

        good = cloud.wait_app(app, healthy)
        commit(source, {"app/Dockerfile": dockerfile(busybox, "x") + "RUN echo broken here; exit 3\n"})
        held = cloud.wait_app(app, lambda s: s.sync == "held", 60)
        assert "could not be built" in held.reason
        assert "non-zero code: 3" in held.reason
        assert [i["id"] for i in held.instances] == [i["id"] for i in good.instances], "the last good one runs on"
        assert "broken here" in cloud.cli("logs", app, "--build").stdout

        commit(source, {"app/Dockerfile": dockerfile(busybox, "four"), "app/greeting": "four\n"})
        wait_for("the mended source to run", lambda: greeting(client, cloud, app) == "four", 60)
        cloud.wait_app(app, healthy)
    finally:
        cloud.wait_commit(cloud.push({f"apps/{app}.yaml": None}, "remove it"))
        for image in client.images.list(f"a67/{app}"):
            client.images.remove(image.id, force=True)


def test_a_source_that_cannot_be_reached_changes_nothing(
    cloud: Cloud, client: docker.DockerClient, busybox: str, source: Path
) -> None:
    app = f"gone-{cloud.name}"
    try:
        commit(source, {"app/Dockerfile": dockerfile(busybox, "one"), "app/greeting": "one\n"})
        cloud.wait_commit(cloud.push({f"apps/{app}.yaml": built(source)}, "a source"), seconds=60)
        before = cloud.wait_app(app, healthy)
        source.rename(source.with_name("away"))
        state = cloud.wait_app(app, lambda s: "there is no git repository" in s.reason)
        assert state.sync == "synced"
        assert "stays" in state.reason
        assert [i["id"] for i in state.instances] == [i["id"] for i in before.instances]
        source.with_name("away").rename(source)
        cloud.wait_app(app, lambda s: healthy(s) and not s.reason)
    finally:
        cloud.wait_commit(cloud.push({f"apps/{app}.yaml": None}, "remove it"))
        for image in client.images.list(f"a67/{app}"):
            client.images.remove(image.id, force=True)


def test_an_image_is_carried_to_a_node_that_lacks_it_without_the_layers_it_has(
    tmp_path: Path, private_docker: PrivateDocker, client: docker.DockerClient, busybox: str, source: Path
) -> None:
    with Cloud(tmp_path / "cloud", runtime="docker") as cloud:
        cloud.poll = "300ms"
        app = f"far-{cloud.name}"
        cloud.push(cloud.base(), "two nodes")
        cloud.start_engine()
        for node in cloud.nodes:
            cloud.join(node)
        cloud.start_agent("one")
        cloud.start_agent("two", "--docker-socket", private_docker.socket)
        wait_for("both nodes", lambda: cloud.healthy_nodes() == set(cloud.nodes))
        try:
            files = {"app/Dockerfile": dockerfile(busybox, "far"), "app/greeting": "far\n"}
            commit(source, files)
            on_two = built(source, replicas=2, place={"spread": "node"})
            cloud.wait_commit(cloud.push({f"apps/{app}.yaml": on_two}, "a source"), seconds=60)
            state = cloud.wait_app(app, healthy)
            assert {i["node"] for i in state.instances} == {"one", "two"}
            image = client.images.list(f"a67/{app}")[0]
            with contextlib.closing(docker.DockerClient(f"unix://{private_docker.socket}")) as other:
                far = other.images.list(f"a67/{app}")[0]
                assert far.attrs["RootFS"] == image.attrs["RootFS"]
                assert far.id == image.id
            sent = re.findall(r"carried a67/\S+ from \w+ to \w+: (\d+) bytes", cloud.log("engine"))
            assert len(sent) == 1
            assert int(sent[0]) < 100_000, "the base's layer was there already"
        finally:
            cloud.wait_commit(cloud.push({f"apps/{app}.yaml": None}, "remove it"))
            for image in client.images.list(f"a67/{app}"):
                client.images.remove(image.id, force=True)
