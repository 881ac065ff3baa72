"""Secrets reach the apps that name them, on the nodes that run them, as environment and as files; and no others."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from automator67.agent.secret_files import directory
from automator67.engine.judge import AppState
from tests.support.cloud import Cloud, wait_for
from tests.support.images import busybox

__all__ = ["busybox"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
WRITER = (
    "import os,sys,time\n"
    "open('seen','w').write(repr([os.environ.get('PASS'), [open(f).read() for f in sys.argv[1:]]]))\n"
    "time.sleep(1e6)\n"
)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), nodes=("one",), runtime="both") as running:
        running.poll = "300ms"
        running.push(running.base(), "one node")
        running.up()
        yield running


def synced(state: AppState) -> bool:
    return state.sync == "synced" and state.health == "healthy"


def process_app(*paths: str, **keys: Any) -> dict[str, Any]:
    app = {"runtime": "process", "command": [sys.executable, "-c", WRITER, *(p.lstrip("/") for p in paths)]}
    return app | {"resources": {"memory": "64Mi"}, "update": {"healthy_for": "0s"}} | keys


def seen(cloud: Cloud, app: str, value: str) -> Path:
    """Wait until a process of the app has written down that it was given ``value``; return its directory."""

    def there() -> Path | None:
        for path in (cloud.agent_state("one") / "instances").glob(f"{app}-0-*"):
            written = path / "work" / "seen"
            if written.exists() and value in written.read_text():
                return path
        return None

    return wait_for(f"{app} to be given its secret", there, 40)


def test_a_process_gets_its_secrets_and_a_new_value_rolls_it(cloud: Cloud) -> None:
    cloud.seal("pass", "first-value")
    cloud.seal("cert", "-----BEGIN X-----\nfirst-cert\n-----END X-----\n")
    files = [{"path": "/etc/app/cert.pem", "secret": "cert"}]
    first = process_app("/etc/app/cert.pem", env={"PASS": {"secret": "pass"}}, files=files)
    cloud.wait_commit(cloud.push({"apps/writer.yaml": first}))
    home = seen(cloud, "writer", "first-value")
    assert "first-cert" in (home / "work/seen").read_text()
    where = Path(directory(cloud.name, "one", home.name))
    file = where / "etc/app/cert.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(where.stat().st_mode) == 0o700
    assert (home / "work/etc/app/cert.pem").resolve() == file
    # A restarted process is given them again, whatever became of the files.
    shutil.rmtree(where)
    (home / "work/seen").unlink()
    os.kill(json.loads((home / "process.json").read_text())["pid"], 9)
    assert seen(cloud, "writer", "first-cert") == home

    cloud.seal("pass", "second-value")
    changed = cloud.push(message="another value")
    planned = json.loads(cloud.cli("plan", "--repo", str(cloud.clone), "--json").stdout)
    cloud.wait_commit(changed)
    after = seen(cloud, "writer", "second-value")
    assert after != home
    wait_for("the old files to go", lambda: not where.exists())
    text = cloud.cli("inspect", changed).stdout
    assert "env.PASS (a secret): changed" in text
    assert "second-value" not in text + json.dumps(planned)

    # The same value sealed again, and one that nobody uses: nothing rolls.
    cloud.seal("pass", "second-value")
    cloud.seal("unused", "x")
    record = cloud.wait_commit(cloud.push(message="sealed again"))
    assert record.plan["changes"] == []
    assert seen(cloud, "writer", "second-value") == after


def test_a_container_has_its_files_before_it_starts_and_after_docker_restarts_it(cloud: Cloud, busybox: str) -> None:
    cloud.seal("db", "container-value")
    script = "cat /run/secrets/db >/tmp/at-start || exit 3; echo started; sleep 100000"
    app = {"image": busybox, "command": ["sh", "-c", script], "resources": {"memory": "16Mi"}, "user": "1234:1234",
           "files": [{"path": "/run/secrets/db", "secret": "db"}], "env": {"PASS": {"secret": "db"}},
           "update": {"healthy_for": "0s"}}  # fmt: skip
    cloud.wait_commit(cloud.push({"apps/box.yaml": app}))
    cloud.wait_app("box", synced)
    client = docker.from_env()
    (box,) = client.containers.list(ignore_removed=True, filters={"label": [f"a67.cloud={cloud.name}", "a67.app=box"]})

    def run(command: str) -> str:
        return str(box.exec_run(["sh", "-c", command]).output.decode())

    assert run("cat /tmp/at-start") == "container-value"
    assert run("stat -c '%a %u %g' /run/secrets/db").strip() == "600 1234 1234"
    assert run("echo $PASS").strip() == "container-value"
    assert "Read-only" in run("echo x >/run/secrets/db")
    # A kill that Docker itself repairs: the file is there at once.
    (process,) = [p[1] for p in box.top()["Processes"] if "sleep" in p[-1] and "sh -c" not in p[-1]][:1]
    before = box.attrs["State"]["StartedAt"]
    os.kill(int(process), 9)

    def again() -> bool:
        box.reload()
        return box.attrs["State"]["Running"] and box.attrs["State"]["StartedAt"] != before

    wait_for("Docker to restart it", again)
    assert run("cat /tmp/at-start") == "container-value"
    # As after a reboot: Docker starts it by itself, but the tmpfs is empty.
    where = directory(cloud.name, "one", box.labels["a67.instance"])
    (process,) = [p[1] for p in box.top()["Processes"] if "sleep" in p[-1] and "sh -c" not in p[-1]][:1]
    before = box.attrs["State"]["StartedAt"]
    shutil.rmtree(where)
    os.kill(int(process), 9)
    wait_for("the agent to start it with its file", lambda: again() and run("cat /tmp/at-start") == "container-value")
    before = box.attrs["State"]["StartedAt"]
    box.stop(timeout=0)
    shutil.rmtree(where, ignore_errors=True)
    wait_for("the agent to start it with its file", lambda: again() and run("cat /tmp/at-start") == "container-value")
    cloud.wait_commit(cloud.push({"apps/box.yaml": None}))
    wait_for("its files to go", lambda: not Path(where).exists())
    client.close()


def test_the_desired_state_stays_the_same_over_a_restart_of_the_engine(cloud: Cloud) -> None:
    cloud.seal("pass", "steady")
    cloud.wait_commit(cloud.push({"apps/writer.yaml": process_app(env={"PASS": {"secret": "pass"}})}))
    home = seen(cloud, "writer", "steady")
    said = cloud.log("agent-one").count("desired: revision")
    cloud.kill("engine")
    cloud.start_engine()
    cloud.wait_commit(cloud.push(message="nothing", files={"x-note.md": str(time.time())}))
    assert cloud.log("agent-one").count("desired: revision") == said
    assert seen(cloud, "writer", "steady") == home


def test_a_secret_that_does_not_open_blocks_its_app_alone(cloud: Cloud) -> None:
    cloud.seal("pass", "good")
    cloud.wait_commit(cloud.push({"apps/writer.yaml": process_app(env={"PASS": {"secret": "pass"}})}))
    home = seen(cloud, "writer", "good")
    broken = (cloud.clone / "secrets/pass.sealed").read_text().replace("Name: pass", "Name: other")
    commit = cloud.push({"secrets/pass.sealed": broken, "apps/other.yaml": process_app()})
    cloud.wait_app("other", synced)
    state = cloud.wait_app("writer", lambda s: s.sync == "blocked")
    assert "secrets/pass.sealed" in state.reason
    assert "sealed as secret other, not as pass" in state.reason
    assert seen(cloud, "writer", "good") == home
    assert cloud.commit(commit) is not None
    assert cloud.cli("validate", str(cloud.clone)).returncode == 1
    cloud.push({"apps/other.yaml": None})


def test_a_new_key_restarts_nothing_and_a_key_that_comes_back_unblocks(cloud: Cloud) -> None:
    cloud.seal("pass", "kept over keys")
    cloud.files({"secrets/engine.pub": cloud.cli("keys", "export").stdout})
    cloud.wait_commit(cloud.push({"apps/writer.yaml": process_app(env={"PASS": {"secret": "pass"}})}))
    home = seen(cloud, "writer", "kept over keys")
    assert "sealed" in cloud.cli("rekey", "--repo", str(cloud.clone)).stdout
    key = cloud.state / "secrets" / "key-0002"
    away = key.rename(cloud.state / "key-0002")
    cloud.kill("engine")
    cloud.start_engine()
    changed = cloud.push(message="a new key")
    cloud.wait_app("writer", lambda s: s.sync == "blocked" and "which this engine does not have" in s.reason)
    away.rename(key)
    record = cloud.wait_commit(changed)
    cloud.wait_app("writer", synced)
    assert seen(cloud, "writer", "kept over keys") == home
    assert record.plan["changes"] == []


def test_a_node_that_joins_anew_is_told_again_with_its_new_key(cloud: Cloud) -> None:
    cloud.seal("pass", "before joining anew")
    cloud.wait_commit(cloud.push({"apps/writer.yaml": process_app(env={"PASS": {"secret": "pass"}})}))
    home = seen(cloud, "writer", "before joining anew")
    cloud.kill("agent-one")
    (cloud.agent_state("one") / "agent.json").unlink()
    cloud.join("one")
    cloud.start_agent("one")
    (home / "work" / "seen").unlink()
    os.kill(json.loads((home / "process.json").read_text())["pid"], 9)
    assert seen(cloud, "writer", "before joining anew") == home
    cloud.seal("pass", "after joining anew")
    cloud.wait_commit(cloud.push(message="a value for the new key"))
    seen(cloud, "writer", "after joining anew")


def test_an_agent_that_is_killed_while_it_starts_something_ends_up_with_its_secrets(cloud: Cloud) -> None:
    files = [{"path": "/etc/cert", "secret": "cert"}]
    app = process_app("/etc/cert", env={"PASS": {"secret": "pass"}}, files=files)
    for n, moment in enumerate((0.05, 0.15, 0.3)):
        cloud.seal("pass", f"value {n}")
        cloud.seal("cert", f"file {n}\n")
        said = cloud.log("agent-one").count("desired: revision")
        commit = cloud.push({"apps/writer.yaml": app}, f"value {n}")
        wait_for("the agent to be told", lambda s=said: cloud.log("agent-one").count("desired: revision") > s)
        # Each time at another point of the start.
        time.sleep(moment)
        cloud.kill("agent-one")
        cloud.start_agent("one")
        cloud.wait_commit(commit)
        home = seen(cloud, "writer", f"value {n}")
        assert f"file {n}" in (home / "work" / "seen").read_text()
    base = Path(directory(cloud.name, "one", "x")).parent
    last = [f"{cloud.name}.one.{home.name}"]
    wait_for("older files to go", lambda: [p.name for p in base.glob(f"{cloud.name}.one.*")] == last)


def test_a_bad_value_goes_back_to_the_value_of_before(cloud: Cloud) -> None:
    script = "import os,time\np=os.environ['PASS']\nopen('seen','w').write(p)\nassert p!='bad'\ntime.sleep(1e6)\n"
    app = process_app(env={"PASS": {"secret": "pass"}}, update={"healthy_for": "1s", "deadline": "4s"})
    app["command"] = [sys.executable, "-c", script]
    cloud.seal("pass", "well")
    cloud.wait_commit(cloud.push({"apps/writer.yaml": app}))
    cloud.seal("pass", "bad")
    cloud.wait_commit(cloud.push(message="a bad value"), "failed", 60)
    cloud.wait_app("writer", lambda s: s.sync == "held" and s.health == "healthy")
    seen(cloud, "writer", "well")
    cloud.seal("pass", "better")
    cloud.wait_commit(cloud.push(message="a better value"))
    seen(cloud, "writer", "better")
