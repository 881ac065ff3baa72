"""What the agent must survive: kill -9 anywhere, a Docker Engine that restarts or hangs, a full disk, an engine that is
away or refuses, certificates and clocks that are wrong. After each, the node becomes what is desired, nothing runs
twice, and the reason was told."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker
import pytest

from automator67.agent import docker_jobs
from tests.support.fake_engine import (
    AGENT,
    Agent,
    FakeEngine,
    container_instance,
    process_instance,
    wait_for,
)
from tests.support.images import busybox
from tests.support.private_docker import PrivateDocker, private_docker

__all__ = ["busybox", "private_docker"]
pytestmark = pytest.mark.timeout(240)
SLEEP = ("sleep", "10000")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    engine = FakeEngine(tmp_path, next_s=1)
    try:
        yield engine
    finally:
        engine.close()


def leaders(engine: FakeEngine) -> dict[str, list[int]]:
    """Return the session leaders that carry this cloud's stamp, by instance."""
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if not entry.name.isdigit():
                continue
            env = dict(e.split("=", 1) for e in (entry / "environ").read_text().split("\0") if "=" in e)
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if env.get("A67_CLOUD") == engine.cloud and fields[0] not in "ZX" and fields[3] == entry.name:
                found.setdefault(env["A67_INSTANCE"], []).append(int(entry.name))
    return found


def containers(client: docker.DockerClient, engine: FakeEngine) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for c in client.containers.list(ignore_removed=True, all=True, filters={"label": f"a67.cloud={engine.cloud}"}):
        found.setdefault(c.labels["a67.instance"], []).append(c.status)
    return found


def children(agent: Agent) -> list[int]:
    assert agent.process is not None
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(agent.process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in done.stdout.split()]


@pytest.mark.slow
def test_killed_at_any_moment_no_process_runs_twice(engine: FakeEngine) -> None:
    chance = random.Random(67)
    agent = engine.agent("n1").start()
    for round_number in range(10):
        names = chance.sample(["a", "b", "c", "d"], 3)
        rev = chance.choice(["aaaa", "bbbb"])
        wanted = [process_instance(n, *SLEEP, rev=rev, stop_timeout=1) for n in names]
        desired = engine.want("n1", *wanted)
        time.sleep(chance.uniform(0, 0.7))
        agent.kill()
        agent.start()
        if round_number % 3 == 2:
            engine.wait_applied("n1", desired)
            assert {i: len(p) for i, p in leaders(engine).items()} == {w["id"]: 1 for w in wanted}


@pytest.mark.slow
@pytest.mark.docker
def test_killed_at_any_moment_no_container_runs_twice(engine: FakeEngine, busybox: str) -> None:
    client = docker.DockerClient(timeout=60)
    chance = random.Random(76)
    agent = engine.agent("n1", runtime="docker").start()
    try:
        for round_number in range(10):
            names = chance.sample(["a", "b", "c"], 2)
            rev = chance.choice(["aaaa", "bbbb"])
            wanted = [container_instance(n, busybox, *SLEEP, rev=rev) for n in names]
            desired = engine.want("n1", *wanted)
            time.sleep(chance.uniform(0, 1.5))
            agent.kill()
            agent.start()
            if round_number % 3 == 2:
                engine.wait_applied("n1", desired)
                assert containers(client, engine) == {w["id"]: ["running"] for w in wanted}
    finally:
        client.close()


@pytest.mark.docker
def test_a_worker_killed_at_its_work_is_replaced(engine: FakeEngine, busybox: str) -> None:
    client = docker.DockerClient(timeout=60)
    chance = random.Random(6)
    agent = engine.agent("n1", runtime="docker").start()
    try:
        for rev in ("aaaa", "bbbb", "cccc"):
            desired = engine.want("n1", *(container_instance(n, busybox, *SLEEP, rev=rev) for n in "abc"))
            time.sleep(chance.uniform(0.1, 0.6))
            for child in children(agent):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            engine.wait_applied("n1", desired, 60)
            assert containers(client, engine) == {f"{n}-0-{rev}": ["running"] for n in "abc"}
    finally:
        client.close()


# -- a Docker Engine of our own, to be killed and frozen ------------------------------------------------------------


def private_agent(engine: FakeEngine, private_docker: PrivateDocker) -> Agent:
    if private_docker.process is None:
        private_docker.start()
    return engine.agent("n1", "--docker-socket", private_docker.socket, runtime="docker").start()


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_docker_engine_that_restarts(engine: FakeEngine, private_docker: PrivateDocker, number: int) -> None:
    private_agent(engine, private_docker)
    wanted = [
        container_instance("web", "busybox:1.36.1", *SLEEP, drift="report"),
        container_instance("job", "busybox:1.36.1", *SLEEP, restart="on-failure", drift="report"),
    ]
    engine.want("n1", *wanted)
    for w in wanted:
        engine.wait_instance("n1", w["id"], phase="running")
    private_docker.stop(number)
    wait_for("the report", lambda: engine.latest("n1")["runtimes"]["docker"] == "down")
    beats = len(engine.heartbeats)
    private_docker.start()
    wait_for("the report", lambda: engine.latest("n1")["runtimes"]["docker"] == "ok")
    # Neither is drift: nobody stopped them by hand.
    for w in wanted:
        engine.wait_instance("n1", w["id"], phase="running", drift=[])
    client = docker.DockerClient(base_url=f"unix://{private_docker.socket}")
    assert containers(client, engine) == {w["id"]: ["running"] for w in wanted}
    client.close()
    assert not [d for h in engine.heartbeats[beats:] for i in h["instances"] for d in i["drift"] if d == "removed"]


@pytest.mark.slow
@pytest.mark.docker
def test_a_docker_engine_that_hangs_is_not_a_dead_node(engine: FakeEngine, private_docker: PrivateDocker) -> None:
    private_agent(engine, private_docker)
    engine.want("n1", container_instance("web", "busybox:1.36.1", *SLEEP))
    engine.wait_instance("n1", "web-0-aaaa", phase="running")
    assert private_docker.process is not None
    private_docker.process.send_signal(signal.SIGSTOP)
    try:
        wait_for("the report", lambda: engine.latest("n1")["runtimes"]["docker"] == "degraded", 60)
        beats = len(engine.heartbeats)
        wait_for("further heartbeats", lambda: len(engine.heartbeats) > beats + 2)
        gaps = [b["arrived"] - a["arrived"] for a, b in zip(engine.heartbeats, engine.heartbeats[1:], strict=False)]
        assert max(gaps) < 4
        # What was last seen stands; what cannot be done waits.
        engine.wait_instance("n1", "web-0-aaaa", phase="running")
        rev = engine.want("n1", container_instance("web", "busybox:1.36.1", *SLEEP, rev="bbbb"))
        found = engine.wait_instance("n1", "web-0-bbbb", phase="pending")
        assert found["detail"] == "the docker runtime does not answer"
    finally:
        private_docker.process.send_signal(signal.SIGCONT)
    engine.wait_applied("n1", rev, 60)


@pytest.mark.docker
def test_images_that_nobody_needs_go_when_the_disk_fills(private_docker: PrivateDocker) -> None:
    if private_docker.process is None:
        private_docker.start()
    client = docker.DockerClient(base_url=f"unix://{private_docker.socket}", timeout=60)
    try:
        base = client.images.get("busybox:1.36.1")
        for tag in ("a:1", "a:2", "a:3", "theirs:1"):
            made = client.containers.create("busybox:1.36.1", ["true"], labels={"made": tag})
            made.commit(*tag.split(":"))
            made.remove()
        dangling = client.containers.create("busybox:1.36.1", ["true"])
        old = str(dangling.commit().id)
        dangling.remove()
        now = time.time() + 2 * 86400
        ours = {f"a:{n}": ["a", now - 86400 * (10 - n)] for n in (1, 2, 3)} | {"busybox:1.36.1": ["b", 0.0]}
        user = client.containers.create("busybox:1.36.1", ["true"])
        gone = docker_jobs.do("collect", {"ours": ours, "now": now}, private_docker.socket, print)
        user.remove()
        assert sorted(gone) == sorted(["a:1", old])
        assert {"a:2", "a:3", "theirs:1", "busybox:1.36.1"} == {t for i in client.images.list() for t in i.tags}
        assert docker_jobs.do("collect", {"ours": {}, "now": time.time()}, private_docker.socket, print) == []
        assert client.images.get(str(base.id))
    finally:
        client.close()


# -- disk, worker, loop ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    directory = tmp_path / "agent-n1"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "a67test", str(directory)]).returncode:
        pytest.skip("this machine does not allow mounting a tmpfs")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=False)


@pytest.mark.slow
def test_a_full_disk_is_told_and_survived(engine: FakeEngine, small_disk: Path) -> None:
    agent = engine.agent("n1").start()
    engine.want("n1", process_instance("a", *SLEEP))
    engine.wait_instance("n1", "a-0-aaaa", phase="running")
    before = (small_disk / "desired.sealed").read_bytes()
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    rev = engine.want("n1", process_instance("a", *SLEEP), process_instance("big", *SLEEP, env={"K": "v" * 50_000}))
    wait_for("the condition", lambda: "state_unwritable" in engine.latest("n1")["conditions"])
    assert (small_disk / "desired.sealed").read_bytes() == before
    assert "the agent's state cannot be written: No space left on device" in agent.output()
    assert agent.process is not None
    assert agent.process.poll() is None
    filler.unlink()
    engine.wait_applied("n1", rev, 90)
    wait_for("the end of the condition", lambda: "state_unwritable" not in engine.latest("n1")["conditions"], 60)
    assert {i: len(p) for i, p in leaders(engine).items()} == {"a-0-aaaa": 1, "big-0-aaaa": 1}
    assert len((small_disk / "desired.sealed").read_bytes()) > 50_000


def test_a_loop_that_hangs_ends_the_process(engine: FakeEngine) -> None:
    agent = engine.agent("n1")
    program = (
        "import time; from automator67.agent import resident; from automator67.agent.keeper import Keeper\n"
        "resident._STUCK = 1.0\n"
        "Keeper.converge = lambda *_: time.sleep(60)\n"
        f"resident.run(resident.Options({str(agent.state)!r}, 'process', '', '', '/nowhere', {{}}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "resident.py" in done.stderr


# -- the engine ------------------------------------------------------------------------------------------------------


def test_an_engine_that_is_away_for_a_while(engine: FakeEngine) -> None:
    agent = engine.agent("n1").start()
    engine.want("n1", process_instance("web", *SLEEP))
    engine.wait_instance("n1", "web-0-aaaa", phase="running")
    engine.stop()
    wait_for("the words", lambda: "does not answer: Connection refused" in agent.output())
    (pid,) = leaders(engine)["web-0-aaaa"]
    os.kill(pid, signal.SIGKILL)
    wait_for("the repair", lambda: leaders(engine).get("web-0-aaaa", [pid]) != [pid])
    engine.heartbeats.clear()
    engine.start()
    wait_for("a heartbeat", lambda: engine.heartbeats, 30)
    rev = engine.want("n1", process_instance("web", *SLEEP, rev="bbbb"))
    engine.wait_applied("n1", rev)
    assert "the engine answers again" in agent.output()


@pytest.mark.parametrize("status", [401, 409, 429, 500])
def test_an_engine_that_refuses_changes_nothing(engine: FakeEngine, status: int) -> None:
    agent = engine.agent("n1").start()
    engine.want("n1", process_instance("web", *SLEEP))
    engine.wait_instance("n1", "web-0-aaaa", phase="running")
    (pid,) = leaders(engine)["web-0-aaaa"]
    engine.refuse = {"/v1/heartbeat": status, "/v1/desired": status}
    wait_for("the words", lambda: f"refused with {status}" in agent.output())
    engine.refuse = {}
    engine.heartbeats.clear()
    wait_for("a heartbeat", lambda: engine.heartbeats, 40)
    assert leaders(engine)["web-0-aaaa"] == [pid]


def test_a_revoked_node_keeps_its_apps_and_goes_quiet(engine: FakeEngine) -> None:
    agent = engine.agent("n1").start()
    engine.want("n1", process_instance("web", *SLEEP))
    engine.wait_instance("n1", "web-0-aaaa", phase="running")
    engine.revoked.add("n1")
    engine.want("n1")
    wait_for("the words", lambda: "this node is revoked" in agent.output())
    assert "apps keep running" in agent.output()
    beats = len(engine.heartbeats)
    time.sleep(3)
    assert len(engine.heartbeats) == beats
    assert len(leaders(engine)["web-0-aaaa"]) == 1


def test_a_message_that_is_wrong_changes_nothing(engine: FakeEngine) -> None:
    agent = engine.agent("n1").start()
    engine.want("n1", process_instance("web", *SLEEP))
    engine.wait_instance("n1", "web-0-aaaa", phase="running")
    engine.want("n1", process_instance("web", *SLEEP) | {"id": "../../etc"})
    wait_for("the condition", lambda: "desired_state_refused" in engine.latest("n1")["conditions"])
    assert "instances[0].id: not a name" in agent.output()
    assert len(leaders(engine)["web-0-aaaa"]) == 1
    rev = engine.want("n1")
    engine.wait_applied("n1", rev)


def test_a_desired_state_held_back_on_the_way_arrives_by_heartbeat(engine: FakeEngine) -> None:
    engine.agent("n1").start()
    wait_for("a heartbeat", lambda: engine.heartbeats)
    engine.hold_back = True
    rev = engine.want("n1", process_instance("web", *SLEEP))
    time.sleep(1)
    # Whatever holds the old request back lets a new one through.
    engine.hold_back = False
    engine.changed.acquire()
    engine.changed.release()
    engine.wait_applied("n1", rev, 30)


def test_an_expired_certificate_is_renewed(engine: FakeEngine) -> None:
    engine.life, engine.backdate = timedelta(seconds=61), timedelta(seconds=60)
    agent = engine.agent("n1")
    engine.life, engine.backdate = timedelta(hours=24), timedelta(minutes=5)
    time.sleep(1.2)
    agent.start()
    wait_for("a heartbeat", lambda: engine.last("n1"), 40)
    assert len(engine.renewals) == 1
    assert "the certificate is renewed until" in agent.output()


def test_a_certificate_is_renewed_before_it_ends(engine: FakeEngine) -> None:
    engine.life, engine.backdate = timedelta(seconds=66), timedelta(seconds=60)
    agent = engine.agent("n1")
    engine.life, engine.backdate = timedelta(hours=24), timedelta(minutes=5)
    before = (agent.state / "identity.pem").read_text()
    engine.want("n1", process_instance("web", *SLEEP))
    agent.start()
    wait_for("the renewal", lambda: (agent.state / "identity.pem").read_text() != before)
    engine.heartbeats.clear()
    engine.wait_instance("n1", "web-0-aaaa", phase="running")
    # The key is the same, and so what was sealed with it opens.
    agent.kill()
    agent.start()
    wait_for("the sealed state", lambda: "keeping what was last desired" in agent.output())


def test_the_engine_may_ask_for_a_renewal(engine: FakeEngine) -> None:
    engine.ask_renewal = True
    engine.agent("n1").start()
    wait_for("the renewal", lambda: engine.renewals)
    engine.ask_renewal = False


@pytest.mark.slow
@pytest.mark.parametrize(("start", "end"), [(-3, -1), (1, 3)])
def test_a_clock_that_is_wrong_is_told_and_does_not_lock_out(engine: FakeEngine, start: int, end: int) -> None:
    agent = engine.agent("n1")
    engine.stop()
    now = datetime.now(UTC)
    engine.server_valid = (now + timedelta(days=start), now + timedelta(days=end))
    engine.start()
    agent.start()
    beat = wait_for("a heartbeat", lambda: engine.last("n1"))
    wait_for("the condition", lambda: "clock" in engine.latest("n1")["conditions"], 30)
    assert "check the clock" in agent.output()
    assert beat["instances"] == []


def test_another_engine_at_the_same_address_is_not_believed(engine: FakeEngine, tmp_path: Path) -> None:
    agent = engine.agent("n1")
    engine.want("n1", process_instance("web", *SLEEP))
    agent.start()
    engine.wait_instance("n1", "web-0-aaaa", phase="running")
    engine.stop()
    (tmp_path / "other").mkdir()
    other = FakeEngine(tmp_path / "other", cloud=engine.cloud)
    other.stop()
    other.port = engine.port
    other.want("n1")
    other.start()
    try:
        wait_for("the words", lambda: "is not the engine this node joined" in agent.output(), 30)
        assert other.heartbeats == []
        assert len(leaders(engine)["web-0-aaaa"]) == 1
    finally:
        other.stop()


def test_a_token_works_once_and_a_wrong_fingerprint_sends_nothing(engine: FakeEngine, tmp_path: Path) -> None:
    def join(token: str, state: str) -> subprocess.CompletedProcess[str]:
        argv = [*AGENT, "join", engine.url, "-", "--state", str(tmp_path / state)]
        return subprocess.run(argv, input=token, capture_output=True, text=True, timeout=60)

    token = engine.token("n9")
    assert join(token, "one").returncode == 0
    again = join(token, "two")
    assert again.returncode == 1
    assert "refuses the token" in again.stderr
    assert not (tmp_path / "two" / "agent.json").exists()
    fresh = engine.token("n8")
    parts = fresh.split(".")
    forged = ".".join([parts[0], "0" * 32, *parts[2:]])
    refused = join(forged, "three")
    assert refused.returncode == 1
    assert "nothing was sent" in refused.stderr
    assert not (tmp_path / "three").exists()
    # The secret is still good: it was never sent.
    assert join(fresh, "four").returncode == 0


def test_two_agents_cannot_share_a_state(engine: FakeEngine) -> None:
    agent = engine.agent("n1").start()
    wait_for("a heartbeat", lambda: engine.last("n1"))
    done = subprocess.run([*AGENT, "run", *agent.options], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "another agent already runs" in done.stderr
