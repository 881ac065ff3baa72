"""What must not run twice never does: the network breaks both ways or one way, or the agent hangs."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import docker
import pytest

from automator67.engine.judge import AppState
from tests.support.cloud import Cloud, wait_for
from tests.support.fake_engine import FakeEngine, container_instance
from tests.support.images import busybox
from tests.support.ledger import Life, lives, overlaps, witness
from tests.support.netns import Net

__all__ = ["busybox"]
pytestmark = pytest.mark.timeout(300)
NODES = ("one", "two", "three")
BEAT = {
    "interval": "500ms", "suspect_after": "1500ms", "failing_after": "2s", "unavailable_after": "3s", "lease": "4s",
}  # fmt: skip
LEASE, MARGIN = 4.0, 5.0


class Scene:
    """A cloud of three nodes with links that can be cut, and one exclusive app that leaves evidence."""

    def __init__(self, directory: Path, net: Net) -> None:
        self.net, self.evidence = net, directory / "evidence"
        self.evidence.mkdir(mode=0o777)
        self.evidence.chmod(0o777)
        self.cloud = Cloud(directory / "cloud", nodes=NODES)
        self.cloud.host = net.host
        self.cloud.inside = {node: net.command(node) for node in NODES}

    def up(self) -> None:
        settings = {"name": self.cloud.name, "heartbeat": BEAT}
        app = witness(self.evidence, exclusive=True)
        self.cloud.push(self.cloud.base() | {"automator67.yaml": settings, "apps/only.yaml": app})
        self.cloud.up()
        self.where()

    def where(self, but: str = "") -> str:
        """Wait until the app runs on a node (but not on one) as far as the engine knows; return which."""

        def healthy(state: AppState) -> list[str]:
            return [i["node"] for i in state.instances if i["healthy"] and i["phase"] == "running"]

        state = self.cloud.wait_app("only", lambda s: healthy(s) not in ([], [but]), 40)
        return healthy(state)[0]

    def settled(self) -> None:
        wait_for("all nodes to be trusted again", lambda: self.cloud.healthy_nodes() >= set(NODES), 60)

    def last(self) -> Life:
        return lives(self.evidence)[-1]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("fencing")
    with Net(NODES) as net:
        scene = Scene(directory, net)
        with scene.cloud:
            scene.up()
            yield scene


def moved(scene: Scene, home: str, since: float) -> None:
    """Check how the app moved: the old copy ended within its lease, and the new one began soon after that."""
    scene.where(but=home)
    found = lives(scene.evidence)
    assert overlaps(found) == []
    old, new = found[-2], found[-1]
    assert (old.node, new.node != home) == (home, True)
    assert old.last < since + LEASE + 1.5
    assert new.first < since + LEASE + MARGIN + 10


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def cut_and_heal(scene: Scene, which: Literal["both", "in", "out"]) -> None:
    home = scene.where()
    since = boottime()
    scene.net.cut(home, which)
    moved(scene, home, since)
    stays = scene.last()
    scene.net.heal(home)
    scene.settled()
    time.sleep(1.0)
    assert scene.where() == stays.node, "nothing bounces"
    assert overlaps(lives(scene.evidence)) == []
    assert len(lives(scene.evidence)) == lives(scene.evidence).index(scene.last()) + 1


@pytest.mark.slow
def test_a_partition_both_ways(scene: Scene) -> None:
    cut_and_heal(scene, "both")


@pytest.mark.long
@pytest.mark.parametrize("which", ["in", "out"])
def test_a_partition_one_way(scene: Scene, which: Literal["in", "out"]) -> None:
    cut_and_heal(scene, which)


@pytest.mark.long
def test_an_agent_that_hangs(scene: Scene) -> None:
    home = scene.where()
    since = boottime()
    agent = scene.cloud.processes[f"agent-{home}"]
    agent.send_signal(signal.SIGSTOP)
    try:
        moved(scene, home, since)
    finally:
        agent.send_signal(signal.SIGCONT)
    scene.settled()
    assert overlaps(lives(scene.evidence)) == []


def test_a_short_cut_changes_nothing(scene: Scene) -> None:
    home, before = scene.where(), scene.last()
    scene.net.cut(home)
    time.sleep(1.0)
    scene.net.heal(home)
    scene.settled()
    now = scene.last()
    assert (now.node, now.first) == (before.node, before.first)
    assert now.last > before.last


@pytest.mark.long
def test_an_agent_killed_for_good(scene: Scene) -> None:
    home = scene.where()
    since = boottime()
    scene.cloud.kill(f"agent-{home}")
    moved(scene, home, since)
    scene.cloud.start_agent(home)
    scene.settled()
    assert overlaps(lives(scene.evidence)) == []


@pytest.mark.docker
@pytest.mark.slow
def test_a_container_ends_with_the_lease_though_the_agent_hangs(tmp_path: Path, busybox: str) -> None:
    client = docker.DockerClient(timeout=60)
    engine = FakeEngine(tmp_path, next_s=0.5)
    try:
        engine.lease_s = 3.0
        agent = engine.agent("n1", runtime="docker").start()
        wanted = container_instance("only", busybox, "sleep", "10000", fence=True, stop_timeout=0)
        engine.wait_applied("n1", engine.want("n1", wanted))
        container = client.containers.list(ignore_removed=True, filters={"label": f"a67.cloud={engine.cloud}"})[0]
        assert container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "no", "a reboot must not start it"
        first = container.id
        container.kill()
        engine.wait_instance("n1", "only-0-aaaa", phase="running", exit_code=137)
        assert agent.process is not None
        agent.process.send_signal(signal.SIGSTOP)
        since = boottime()
        wait_for(
            "the guard to kill it", lambda: not client.containers.list(ignore_removed=True, filters={"id": first}), 20
        )
        assert boottime() - since < 3.0 + 2.0
        agent.process.send_signal(signal.SIGCONT)
        engine.wait_instance("n1", "only-0-aaaa", phase="running")
        engine.stop()
        since = boottime()
        ours = {"label": f"a67.cloud={engine.cloud}"}
        wait_for("the agent to stop it", lambda: not client.containers.list(ignore_removed=True, filters=ours), 20)
        assert boottime() - since < 3.0 + 2.0
    finally:
        engine.close()
        client.close()
