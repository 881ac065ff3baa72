"""Jobs, commands before a deploy, commands by hand: as plain processes and in containers, through the whole cloud."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automator67.engine.jobs import Run
from automator67.engine.store.runs import load_runs
from tests.support.cloud import Cloud, http_app, wait_for
from tests.support.images import busybox

__all__ = ["busybox"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud")) as running:
        running.poll = "1s"
        running.push(running.base() | {"apps/web.yaml": http_app("hello")}, "two nodes")
        running.up()
        running.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy")
        yield running


def python(code: str, **keys: Any) -> dict[str, Any]:
    return {"runtime": "process", "command": [sys.executable, "-c", code], "resources": {"memory": "64Mi"}} | keys


def runs(cloud: Cloud, app: str) -> tuple[Run, ...]:
    with cloud.store.read() as tx:
        return load_runs(tx).of(app)


def over(cloud: Cloud, app: str, count: int = 1) -> list[Run]:
    """Wait until so many runs of an app are over; return them, the oldest first."""
    found = wait_for(
        f"{count} runs of {app}", lambda: len(done := [r for r in runs(cloud, app) if r.over]) >= count and done, 60
    )
    return sorted(found, key=lambda r: r.number)


def run(cloud: Cloud, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "automator67.engine.cli", "run", *arguments]
    return subprocess.run(argv, env=cloud.environment(), capture_output=True, text=True, timeout=60)


def test_a_command_by_hand_has_the_apps_environment_and_passes_its_end_on(cloud: Cloud) -> None:
    code = "import os,sys;print(os.environ['GREETING']);print('no', file=sys.stderr);sys.exit(7)"
    done = run(cloud, "web", "--", sys.executable, "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (7, "hello\n", "no\n")
    (one,) = over(cloud, "web")
    assert (one.kind, one.state, one.exit_code, one.reason[:7]) == ("manual", "failed", 7, "by uid ")
    assert "hello" in cloud.cli("logs", "web", "--run", "1").stdout
    listed = json.loads(cloud.cli("runs", "web", "--json").stdout)
    assert [(r["number"], r["state"], r["exit_code"]) for r in listed["runs"]] == [(1, "failed", 7)]
    assert "exit code 7" in cloud.cli("runs").stdout
    # It is no copy of the app, and makes no difference to it.
    state = cloud.app("web")
    assert state is not None
    assert (state.sync, state.health, state.replicas_healthy, len(state.instances)) == ("synced", "healthy", 1, 1)
    for bad, words in ((("wbe", "--", "x"), "did you mean web?"), (("web",), "say what to run after --")):
        refused = run(cloud, *bad)
        assert refused.returncode == 255
        assert words in refused.stderr


def test_a_command_by_hand_is_ended_with_the_one_who_asked(cloud: Cloud) -> None:
    argv = [sys.executable, "-m", "automator67.engine.cli", "run", "web", "--", "sh", "-c", "echo go; sleep 4321"]
    asked = subprocess.Popen(argv, env=cloud.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert asked.stdout is not None
    assert asked.stdout.readline() == b"go\n"
    asked.send_signal(signal.SIGINT)
    _, err = asked.communicate(timeout=30)
    assert asked.returncode == 255
    assert b"stopped" in err
    wait_for("its process to end", lambda: b"sleep 4321" not in subprocess.check_output(["ps", "-eo", "args"]))


def test_a_job_runs_once_for_every_revision_and_what_depends_on_it_waits(cloud: Cloud) -> None:
    job = python("print('migrated')", schedule="@deploy")
    web = http_app("later", depends_on=["migrate"])
    commit = cloud.push({"apps/migrate.yaml": job, "apps/late.yaml": web}, "a migration")
    cloud.wait_commit(commit)
    (one,) = over(cloud, "migrate")
    assert (one.kind, one.state, one.exit_code) == ("deploy", "succeeded", 0)
    late = cloud.app("late")
    assert late is not None
    assert late.instances[0]["since"] >= one.started_at
    cloud.wait_commit(cloud.push({"apps/migrate.yaml": python("raise SystemExit(3)", schedule="@deploy")}, "a bad one"),
                      "failed")  # fmt: skip
    assert [r.state for r in over(cloud, "migrate", 2)] == ["succeeded", "failed"]
    state = cloud.app("migrate")
    assert state is not None
    assert (state.health, state.sync) == ("degraded", "blocked")
    assert "run 2 failed with exit code 3" in state.reason
    cloud.wait_commit(cloud.push({"apps/migrate.yaml": None, "apps/late.yaml": None}, "away with them"))
    wait_for("its runs to be forgotten", lambda: not runs(cloud, "migrate"))


def test_the_command_before_a_revision_keeps_a_bad_one_from_starting(cloud: Cloud) -> None:
    good = http_app("one", before={"command": [sys.executable, "-c", "print('ready')"]})
    cloud.wait_commit(cloud.push({"apps/shop.yaml": good}, "with a command before"))
    assert [(r.kind, r.state) for r in over(cloud, "shop")] == [("before", "succeeded")]
    bad = http_app("two", before={"command": ["sh", "-c", "echo no such table >&2; exit 1"]})
    cloud.push({"apps/shop.yaml": bad}, "a bad migration")
    state = cloud.wait_app("shop", lambda s: s.sync == "held")
    assert "its `before` command (run 2) failed with exit code 1: " in state.reason
    assert "no such table" in state.reason
    assert [i["rev"] for i in state.instances] == [state.rev_running]
    assert state.rev_running != state.rev_wanted
    # The same revision with another command before it is another try.
    cloud.wait_commit(cloud.push({"apps/shop.yaml": bad | {"before": good["before"]}}, "a better one"))
    assert [r.state for r in over(cloud, "shop", 3)] == ["succeeded", "failed", "succeeded"]


def test_engine_and_agent_are_killed_while_it_runs_and_it_runs_once(cloud: Cloud, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()
    code = f"import time; open({str(ledger)!r}, 'a').write('x'); time.sleep(4)"
    cloud.push({"apps/slow.yaml": python(code, schedule="@deploy")}, "a slow one")
    wait_for("it to begin", lambda: ledger.read_text())
    kill_all(cloud, runs(cloud, "slow")[0].node)
    (one,) = over(cloud, "slow")
    # The exit code of a plain process is known only to the one who started it.
    assert (one.state, one.exit_code, ledger.read_text()) == ("lost", None, "x")
    assert one.detail.startswith("nobody saw how it ended")


def kill_all(cloud: Cloud, node: str) -> None:
    cloud.kill("engine")
    cloud.kill(f"agent-{node}")
    time.sleep(0.5)
    cloud.start_engine()
    cloud.start_agent(node)


def test_a_run_that_takes_too_long_is_ended(cloud: Cloud) -> None:
    job = python("import time; time.sleep(1000)", schedule={"cron": "@deploy", "timeout": "2s"})
    cloud.push({"apps/long.yaml": job}, "a long one")
    (one,) = over(cloud, "long")
    assert (one.state, one.detail) == ("timed out", "it took longer than 2s")
    assert one.ended_at - one.started_at < 10


@pytest.mark.docker
def test_in_containers_by_the_clock(tmp_path: Path, busybox: str) -> None:
    with Cloud(tmp_path, nodes=("one",), runtime="docker") as cloud:
        cloud.poll = "1s"
        job = {
            "image": busybox, "command": ["sh", "-c", "echo counted $(wc -l < /data/n); echo >> /data/n"],
            "resources": {"memory": "16Mi"}, "volumes": [{"name": "data", "path": "/data"}], "schedule": "* * * * *",
        }  # fmt: skip
        cloud.push(cloud.base() | {"apps/count.yaml": job}, "a job")
        cloud.up()
        state = cloud.wait_app("count", lambda s: s.sync == "synced")
        assert (state.health, state.replicas_wanted) == ("healthy", 0)
        begun = json.loads(
            run(cloud, "count", "--detach", "--json", "--", "sh", "-c", "echo x >> /data/k; sleep 3").stdout
        )
        wait_for("it to run", lambda: any(r.started_at for r in runs(cloud, "count")))
        kill_all(cloud, "one")
        # The minute may begin at any moment of this, so what the clock begins is told from what was asked for.
        killed = wait_for("its end", lambda: next((r for r in over(cloud, "count") if r.kind != "schedule"), None))
        assert (killed.number, killed.state, killed.exit_code) == (begun["number"], "succeeded", 0)
        first = run(cloud, "count", "--", "sh", "-c", "echo > /data/n; cat /data/k")
        assert (first.returncode, first.stdout) == (0, "x\n"), "it ran once"
        since = time.time()

        def by_the_clock() -> list[Run]:
            return [r for r in runs(cloud, "count") if r.kind == "schedule" and r.over and r.due_at > since]

        clocked = wait_for("a run by the clock", by_the_clock, 100)
        assert (clocked[0].state, clocked[0].due_at % 60) == ("succeeded", 0)
        assert clocked[0].started_at - clocked[0].due_at < 10
        assert "counted 1" in cloud.cli("logs", "count", "--run", str(clocked[0].number)).stdout
