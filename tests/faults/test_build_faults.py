"""Killed in the middle of a build or of carrying an image: all of it comes to the same end, and nothing is left."""

from __future__ import annotations

import subprocess
from pathlib import Path

import docker
import pytest

from automator67.engine.judge import AppState
from tests.support.cloud import GIT, Cloud, wait_for
from tests.support.images import busybox

__all__ = ["busybox"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]


def healthy(state: AppState) -> bool:
    return state.sync == "synced" and state.health == "healthy"


def slow_source(place: Path, base: str) -> None:
    """Make a source whose build takes a few seconds after it has said that it began."""
    subprocess.run([*GIT, "init", "-q", "-b", "main", str(place)], check=True)
    lines = [f"FROM {base}", "RUN echo the slow part begins; sleep 4", 'CMD ["sleep", "100000"]']
    (place / "Dockerfile").write_text("\n".join(lines) + "\n")
    subprocess.run([*GIT, "add", "-A"], cwd=place, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "slow"], cwd=place, check=True)


@pytest.mark.parametrize("killed", ["engine", "agent-one"])
def test_a_build_that_is_cut_off_is_begun_again(tmp_path: Path, busybox: str, killed: str) -> None:
    source = tmp_path / "source"
    slow_source(source, busybox)
    client = docker.from_env()
    with Cloud(tmp_path / "cloud", nodes=("one",), runtime="docker") as cloud:
        cloud.poll = "300ms"
        # Another label for each: nothing is taken from the cache of an earlier build.
        with (source / "Dockerfile").open("a") as file:
            file.write(f"LABEL of={cloud.name}\n")
        text = (source / "Dockerfile").read_text().replace("slow part", f"slow part of {cloud.name}")
        (source / "Dockerfile").write_text(text)
        subprocess.run([*GIT, "commit", "-qam", "own"], cwd=source, check=True)
        app = f"cut-{cloud.name}"
        doc = {"source": {"git": str(source)}, "resources": {"memory": "16Mi"}, "update": {"healthy_for": "0s"}}
        cloud.push(cloud.base() | {f"apps/{app}.yaml": doc}, "a slow source")
        cloud.up()
        try:

            def begun() -> bool:
                return f"slow part of {cloud.name} begins" in cloud.cli("logs", app, "--build", check=False).stdout

            wait_for("the slow part", begun, 40)
            cloud.kill(killed)
            if killed == "engine":
                cloud.start_engine()
            else:
                cloud.start_agent("one")
            cloud.wait_app(app, healthy, 60)
            assert len(client.images.list(f"a67/{app}")) == 1
            assert begun(), "the log of the build that came to its end is kept"
            left = client.containers.list(
                ignore_removed=True, all=True, filters={"ancestor": busybox, "status": "running"}
            )
            assert not [c for c in left if cloud.name in str(c.attrs["Config"]["Cmd"])]
        finally:
            cloud.wait_commit(cloud.push({f"apps/{app}.yaml": None}, "remove it"))
            for image in client.images.list(f"a67/{app}"):
                client.images.remove(image.id, force=True)
            client.close()
