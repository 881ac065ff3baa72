"""The engine killed at every recorded step, and other misfortunes: it converges, and nothing runs twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from automator67.engine.crash import POINTS
from automator67.engine.judge import AppState
from tests.support.cloud import Cloud, http_app, wait_for

pytestmark = [pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud")) as running:
        running.poll = "300ms"
        running.push(running.base() | {"apps/web.yaml": http_app("v0", replicas=2)}, "start")
        running.up()
        running.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy")
        yield running


def greeting(state: AppState) -> set[str]:
    return {httpx.get(f"http://{i['address']}/").text for i in state.instances if i["address"]}


def applied(cloud: Cloud, commit: str) -> bool:
    record = cloud.commit(commit)
    return record is not None and record.state == "applied"


def running(cloud: Cloud) -> list[str]:
    """Return the instance names of every process that runs for this cloud, as the kernel knows them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            state = (process / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        stamps = dict(e.split(b"=", 1) for e in environment if b"=" in e)
        if stamps.get(b"A67_CLOUD") == cloud.name.encode() and state != "Z":
            found.append(stamps[b"A67_INSTANCE"].decode())
    return found


@pytest.mark.parametrize("crash", POINTS)
def test_killed_at_any_step_of_an_apply_it_converges(cloud: Cloud, crash: str) -> None:
    cloud.kill("engine")
    commit = cloud.push({"apps/web.yaml": http_app(crash, replicas=2)}, f"crash {crash}")
    crashes = 0
    for _ in range(3):
        process = cloud.start_engine(A67_CRASH_AT=crash)
        # With nothing left to do there is nothing to be killed at: it has converged between two crashes.
        wait_for("a crash, or the end", lambda p=process: p.poll() is not None or applied(cloud, commit), 90)  # type: ignore[misc]
        if process.poll() is None:
            cloud.kill("engine")
            break
        assert process.returncode == -signal.SIGKILL
        crashes += 1
    assert crashes >= 1
    cloud.start_engine()
    cloud.wait_commit(commit)
    state = cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy")
    assert greeting(state) == {crash}
    wait_for("exactly two processes", lambda: len(running(cloud)) == 2)
    assert len(set(running(cloud))) == 2


def test_agent_killed_it_finds_its_processes_again(cloud: Cloud) -> None:
    before = sorted(running(cloud))
    cloud.kill("agent-one")
    cloud.start_agent("one")
    cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy")
    assert sorted(running(cloud)) == before


def test_engine_away_agents_keep_and_repair(cloud: Cloud) -> None:
    cloud.kill("engine")
    victim = next(i["address"] for i in cloud.app("web").instances)  # type: ignore[union-attr]
    httpx.get(f"http://{victim}/")
    instance = running(cloud)[0]
    pid = next(
        int(p.name) for p in Path("/proc").glob("[0-9]*")
        if f"A67_INSTANCE={instance}".encode() in _environment(p) and cloud.name.encode() in _environment(p)
    )  # fmt: skip
    os.kill(pid, signal.SIGKILL)
    wait_for("the agent to start it again", lambda: len(running(cloud)) == 2)
    cloud.start_engine()
    cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy")


def test_two_pushes_within_a_moment_end_at_the_second(cloud: Cloud) -> None:
    first = cloud.push({"apps/web.yaml": http_app("one", replicas=2)}, "one")
    second = cloud.push({"apps/web.yaml": http_app("two", replicas=2)}, "two")
    cloud.wait_commit(second)
    assert greeting(cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy")) == {"two"}
    record = cloud.commit(first)
    assert record is None or record.state in ("superseded", "applied")


def test_a_locked_store_is_waited_out(cloud: Cloud) -> None:
    lock = sqlite3.connect(cloud.state / "store.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    commit = cloud.push({"apps/web.yaml": http_app("patience", replicas=2)}, "while locked")
    wait_for("the engine to say so", lambda: "stayed locked" in cloud.log("engine"), 30)
    lock.execute("ROLLBACK")
    lock.close()
    cloud.wait_commit(commit)


def test_a_lost_store_is_rebuilt_and_nothing_restarts(cloud: Cloud) -> None:
    cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy")
    before = sorted(running(cloud))
    cloud.kill("engine")
    for file in cloud.state.glob("store.db*"):
        file.unlink()
    cloud._store = None
    cloud.start_engine()
    cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy")
    assert sorted(running(cloud)) == before
    history = json.loads(cloud.cli("history", "--json").stdout)
    assert history[0]["state"] == "applied"


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
