"""A node's policy on a real Docker Engine: refused by the agent itself, allowed by its file, and hardened otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.e2e.test_agent_docker import SLEEP, client, container, find
from tests.support.fake_engine import Agent, FakeEngine, container_instance, wait_for
from tests.support.images import busybox

__all__ = ["busybox", "client"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, busybox: str) -> Iterator[tuple[FakeEngine, Agent]]:
    engine = FakeEngine(tmp_path_factory.mktemp("engine"))
    try:
        yield engine, engine.agent("n1", runtime="docker").start()
    finally:
        engine.close()


def test_the_agent_refuses_until_its_own_file_allows(
    shared: tuple[FakeEngine, Agent], client: docker.DockerClient, busybox: str, tmp_path: Path
) -> None:
    engine, agent = shared
    (tmp_path / "greeting").write_text("hello")
    access = {
        "host_network": True, "capabilities": ["NET_ADMIN"], "devices": ["/dev/null"],
        "mounts": [{"host": str(tmp_path), "path": "/shown", "read_only": True}],
    }  # fmt: skip
    wanted = container_instance("web", busybox, *SLEEP, access=access, port=8080)
    engine.want("n1", wanted)
    found = engine.wait_instance("n1", "web-0-aaaa", phase="failed")
    assert found["detail"].startswith("refused by this node's policy: the host's network is not allowed")
    assert find(client, engine, "web-0-aaaa") is None
    policy = agent.state / "policy.toml"
    policy.write_text(
        f'host_network = true\ncapabilities = ["NET_ADMIN"]\ndevices = ["/dev/null"]\nmounts = ["{tmp_path}"]\n'
    )
    policy.chmod(0o666)
    wait_for("the warning", lambda: "policy_unusable" in engine.latest("n1")["conditions"])
    assert find(client, engine, "web-0-aaaa") is None, "a file that anybody may change allows nothing"
    policy.chmod(0o600)
    running = engine.wait_instance("n1", "web-0-aaaa", phase="running")
    assert running["address"] == "127.0.0.1:8080"
    assert engine.latest("n1")["policy"]["mounts"] == [str(tmp_path)]
    made = container(client, engine, "web-0-aaaa")
    host = made.attrs["HostConfig"]
    assert (host["NetworkMode"], host["CapAdd"], host["Privileged"]) == ("host", ["NET_ADMIN"], False)
    assert made.exec_run(["cat", "/shown/greeting"]).output == b"hello"
    assert made.exec_run(["touch", "/shown/x"]).exit_code != 0
    engine.want("n1", container_instance("web", busybox, *SLEEP, access=access | {"privileged": True}, rev="bbbb"))
    found = engine.wait_instance("n1", "web-0-bbbb", phase="failed")
    assert "privileged containers are not allowed" in found["detail"]
    policy.unlink()
    wait_for("the report that nothing is allowed", lambda: engine.latest("n1")["policy"] == {})


def test_every_container_is_confined(
    shared: tuple[FakeEngine, Agent], client: docker.DockerClient, busybox: str
) -> None:
    engine, _ = shared
    engine.want("n1", container_instance("plain", busybox, *SLEEP))
    engine.wait_instance("n1", "plain-0-aaaa", phase="running")
    made = container(client, engine, "plain-0-aaaa")
    host = made.attrs["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["CapDrop"] == ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP"]
    assert host["PidsLimit"] == 4096
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    assert host["Privileged"] is False
    assert host["Binds"] is None
    capabilities = made.exec_run(["sh", "-c", "grep CapEff /proc/1/status"]).output.split()[1]
    assert int(capabilities, 16) & (1 << 13) == 0, "no raw sockets"
    assert made.exec_run(["chown", "1:1", "/tmp"]).exit_code == 0, "what ordinary images need still works"
