"""Commands in instances: refused unless the node's own policy allows them, written down, and passed through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from automator67.engine.judge import AppState
from tests.support.cloud import Cloud, http_app, wait_for
from tests.support.images import busybox

__all__ = ["busybox"]
pytestmark = [pytest.mark.timeout(180)]


def synced(state: AppState) -> bool:
    return state.sync == "synced" and state.health == "healthy"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), nodes=("one",)) as running:
        running.poll = "300ms"
        running.push(running.base() | {"apps/web.yaml": http_app("hello", replicas=2)}, "one node")
        running.up()
        running.wait_app("web", synced)
        yield running


def run(cloud: Cloud, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "automator67.engine.cli", "exec", *arguments]
    return subprocess.run(argv, env=cloud.environment(), input=data, capture_output=True, timeout=60)


def allow(cloud: Cloud, node: str) -> None:
    policy = cloud.agent_state(node) / "policy.toml"
    policy.write_text("exec = true\n")
    policy.chmod(0o600)

    def told() -> bool:
        nodes = json.loads(cloud.cli("node", "list", "--json").stdout)
        return any(n["name"] == node and n["policy"].get("exec") for n in nodes)

    wait_for("the policy to be reported", told)


def history(cloud: Cloud) -> list[str]:
    return [c["message"] for c in json.loads(cloud.cli("history", "--commands", "--json").stdout)]


def test_it_is_refused_by_default_and_written_down(cloud: Cloud) -> None:
    done = run(cloud, "web", "--", "id")
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"refused by the policy of node one: exec is not allowed (policy.toml: exec = true)" in done.stderr
    assert history(cloud)[0].startswith("refused uid ")
    assert '["id"]' in history(cloud)[0]


def test_input_output_and_exit_code_pass_through(cloud: Cloud) -> None:
    allow(cloud, "one")
    done = run(cloud, "web", "--", "sh", "-c", "echo out; echo err >&2; cat; exit 7", data=b"in\0put")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\nin\0put", b"err\n")
    who = f"uid {os.geteuid()} "
    # The node's own word on it comes whenever it comes.
    ended, began = [m for m in history(cloud) if m.startswith(who)][:2]
    assert '"echo out; echo err >&2; cat; exit 7"] in web-0-' in began
    assert ended.endswith("ended with 7")
    assert "for uid" in cloud.log("agent-one")
    assert run(cloud, "web", "--", "no-such-program").stderr.count(b"no-such-program") == 1
    assert run(cloud, "web", "--", "sh", "-c", "kill -9 $$").returncode == 137
    assert b"there are web-" in run(cloud, "web", "--instance", "web-9", "--", "id").stderr
    page = cloud.cli("history", "--commands").stdout
    assert "WHO AND WHAT" in page


def test_it_runs_as_the_process_does(cloud: Cloud) -> None:
    second = next(i["id"] for i in (cloud.app("web") or pytest.fail("no app")).instances if i["slot"] == 1)
    done = run(
        cloud,
        "web",
        "--instance",
        str(second),
        "--",
        "sh",
        "-c",
        "echo $A67_INSTANCE $GREETING; pwd; cat /proc/self/cgroup",
    )
    first, where, *cgroups = done.stdout.decode().splitlines()
    assert first == f"{second} hello"
    assert where == str(cloud.agent_state("one") / "instances" / str(second) / "work")
    mine = (cloud.agent_state("one") / "instances" / str(second) / "process.json").read_text()
    pid = json.loads(mine)["pid"]
    with open(f"/proc/{pid}/cgroup") as file:  # noqa: PTH123
        assert cgroups == file.read().splitlines()


def test_much_passes_both_ways_and_a_reader_that_goes_ends_it(cloud: Cloud) -> None:
    data = os.urandom(3 * 2**20)
    done = run(cloud, "web", "--", "cat", data=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")
    marker = f"{time.time_ns()}"
    argv = [
        sys.executable,
        "-m",
        "automator67.engine.cli",
        "exec",
        "web",
        "--",
        "sh",
        "-c",
        f"echo go; sleep 1000; : {marker}",
    ]
    command = subprocess.Popen(argv, env=cloud.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert command.stdout is not None
    assert command.stdout.readline() == b"go\n"
    command.kill()
    command.communicate()

    def gone() -> bool:
        lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
        return not any(marker in line and line.startswith("sh ") for line in lines)

    wait_for("the command to be killed", gone)
    wait_for("the last word in the history", lambda: any(marker in m and "was cut off" in m for m in history(cloud)))


@pytest.mark.docker
def test_in_a_container(tmp_path_factory: pytest.TempPathFactory, busybox: str) -> None:
    app = {"image": busybox, "command": ["sleep", "10000"], "env": {"GREETING": "hi"}, "resources": {"memory": "32Mi"},
           "update": {"healthy_for": "0s"}, "stop_timeout": "1s"}  # fmt: skip
    with Cloud(tmp_path_factory.mktemp("cloud"), nodes=("one",), runtime="docker") as cloud:
        cloud.poll = "300ms"
        cloud.push(cloud.base() | {"apps/box.yaml": app}, "a container")
        cloud.up()
        cloud.wait_app("box", synced)
        assert run(cloud, "box", "--", "id").returncode == 255
        allow(cloud, "one")
        done = run(cloud, "box", "--", "sh", "-c", "echo $GREETING; echo err >&2; cat; exit 7", data=b"in")
        assert (done.returncode, done.stdout, done.stderr) == (7, b"hi\nin", b"err\n")
        data = os.urandom(2**20)
        assert run(cloud, "box", "--", "cat", data=data).stdout == data
        assert run(cloud, "box", "--", "no-such-program").returncode in (126, 127)
