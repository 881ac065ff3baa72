"""Logs of a running app: merged, followed over rollouts, honest about what is missing, and held nowhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automator67.engine.judge import AppState
from tests.support.cloud import Cloud, http_app, wait_for

pytestmark = [pytest.mark.timeout(180)]

LOUD_MIB = 100
LOUD = (
    "import sys,time\n"
    "line='x'*1022+'\\n'\n"
    f"for i in range({LOUD_MIB}*8): sys.stdout.write(line*128)\n"
    "sys.stdout.flush(); print('done',flush=True); time.sleep(1000)\n"
)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud")) as running:
        running.poll = "300ms"
        running.push(running.base() | {"apps/web.yaml": http_app("hello", replicas=2)}, "two nodes")
        running.up()
        running.wait_app("web", synced)
        yield running


def synced(state: AppState) -> bool:
    return state.sync == "synced" and state.health == "healthy"


class Follower:
    """A ``logs`` command that runs on; what it prints is in files."""

    def __init__(self, cloud: Cloud, *arguments: str) -> None:
        self._out, self._err = cloud.directory / "follow.out", cloud.directory / "follow.err"
        argv = [sys.executable, "-m", "automator67.engine.cli", "logs", *arguments]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(argv, env=cloud.environment(), stdout=out, stderr=err, cwd=cloud.directory)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._out.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def warnings(self) -> str:
        return self._err.read_text()

    def size(self) -> int:
        return self._out.stat().st_size

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def test_lines_name_their_replica_and_bad_questions_are_answered_in_words(cloud: Cloud) -> None:
    (first, second) = [x for x in cloud.cli("logs", "web").stdout.splitlines() if "up with" in x]
    assert {first.split()[1].split("@")[1], second.split()[1].split("@")[1]} == {"one", "two"}
    assert "web-0." in first + second
    only, *more = [json.loads(x) for x in cloud.cli("logs", "web", "--node", "one", "--json").stdout.splitlines()]
    assert (only["node"], only["m"], only["s"]) == ("one", "up with hello", "out")
    assert {x["node"] for x in more} <= {"one"}
    assert cloud.cli("logs", "web", "--instance", only["instance"]).stdout.count("up with") == 1
    assert cloud.cli("logs", "web", "--since", "1h", "--tail", "1").stdout.count("\n") == 2
    for question, words in (
        (("wen",), "did you mean web?"),
        (("web", "--node", "ones"), "did you mean one?"),
        (("web", "--tail", "few"), "neither a number nor all"),
        (("web", "--since", "yore"), "neither a duration"),
    ):
        done = cloud.cli("logs", *question, check=False)
        assert done.returncode == 255
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_new_replicas_join_while_following_and_a_node_that_is_away_is_said_once(cloud: Cloud) -> None:
    with Follower(cloud, "web", "-f", "--json") as follower:
        wait_for("the first lines", lambda: [x["m"] for x in follower.lines()].count("up with hello") == 2)
        cloud.push({"apps/web.yaml": http_app("changed", replicas=2)}, "roll")
        wait_for("lines of both new replicas", lambda: [x["m"] for x in follower.lines()].count("up with changed") == 2)
        cloud.kill("agent-two")
        wait_for("a word about node two", lambda: "two" in follower.warnings())
        # Else the first new copy may be meant for it, and be waited for.
        wait_for("the engine to miss it", lambda: "two" not in cloud.healthy_nodes())
        cloud.push({"apps/web.yaml": http_app("third", replicas=2)}, "roll on")
        wait_for("a line from the node that is there", lambda: "up with third" in [x["m"] for x in follower.lines()])
        assert follower.process.poll() is None
        cloud.start_agent("two")
        wait_for("the other node again", lambda: [x["m"] for x in follower.lines()].count("up with third") == 2, 60)
        messages = [(x["instance"], x["m"]) for x in follower.lines() if x["m"].startswith("up") and x["node"] == "one"]
        assert len(messages) == len(set(messages)), "whoever was there all the time shows nothing twice"
        follower.process.send_signal(signal.SIGINT)
        assert follower.process.wait(20) == 0


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123
        return int(next(line.split()[1] for line in file if line.startswith("VmRSS"))) * 1024


@pytest.mark.slow
def test_a_hundred_megabytes_are_held_nowhere(cloud: Cloud, tmp_path: Path) -> None:
    loud = http_app(replicas=1) | {"command": [sys.executable, "-c", LOUD], "place": {"require": {"node": "one"}}}
    del loud["health"], loud["port"]
    cloud.push({"apps/loud.yaml": loud}, "a loud one")
    cloud.wait_app("loud", synced)
    agent, engine = cloud.processes["agent-one"].pid, cloud.processes["engine"].pid
    log = next(cloud.agent_state("one").glob("instances/loud-*/out.log"))
    wait_for("all of it", lambda: log.read_bytes()[-5:] == b"done\n", 60)
    before = {pid: resident(pid) for pid in (agent, engine)}
    highest = dict(before)
    # Nobody reads this pipe for a while: then the agent has to wait, and nobody collects.
    argv = [sys.executable, "-m", "automator67.engine.cli", "logs", "loud", "--tail", "all"]
    reader = subprocess.Popen(argv, env=cloud.environment(), stdout=subprocess.PIPE)
    assert reader.stdout is not None
    got, pause_ends = 0, time.monotonic() + 4
    while True:
        highest = {pid: max(most, resident(pid)) for pid, most in highest.items()}
        if time.monotonic() < pause_ends:
            time.sleep(0.1)
            continue
        piece = os.read(reader.stdout.fileno(), 2**20)
        if not piece:
            break
        got += len(piece)
    assert reader.wait(10) == 0
    reader.stdout.close()
    kept = sum(p.stat().st_size for p in log.parent.glob("out.log*"))
    assert got >= kept, "a slow reader gets all that the node has"
    grown = {pid: (highest[pid] - before[pid]) / 2**20 for pid in before}
    assert grown[agent] < 8, grown
    assert grown[engine] < 24, grown
