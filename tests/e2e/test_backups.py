"""Volumes are backed up to a real S3 server by a real restic, restored, and tested; both runtimes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from automator67.engine.store.volumes import load_volumes
from automator67.engine.volumes import VolumeFacts, VolumeId
from tests.support.cloud import Cloud, wait_for
from tests.support.images import busybox
from tests.support.s3 import ACCESS, S3, SECRET

__all__ = ["busybox"]

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not shutil.which("restic"), reason="restic is not on this machine"),
    pytest.mark.slow,
]
PASSWORD = "marked-password-of-backups"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with S3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), nodes=("one",), runtime="both") as cloud:
        cloud.poll = "300ms"
        seal_all(cloud)
        cloud.push(cloud.base())
        cloud.up()
        yield cloud


def seal_all(cloud: Cloud) -> None:
    cloud.seal("s3-key", SECRET)
    cloud.seal("s3-access", ACCESS)
    cloud.seal("password", PASSWORD)


def backup(s3: S3, **more: Any) -> dict[str, Any]:
    found = {"url": s3.url, "access_key": {"secret": "s3-access"}, "secret_key": {"secret": "s3-key"}, "every": "1h",
             "keep": 2}  # fmt: skip
    return found | {"password": {"secret": "password"}} | more


def writer(words: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """Return an app that writes into its volume how often it was started, and then sleeps."""
    code = (
        "import os,time\n"
        "d=os.environ['A67_VOLUME_DATA']\n"
        "open(d+'/starts','a').write('x')\n"
        "open(d+'/first','a').close()\n"
        "time.sleep(1e6)\n"
    )
    return {
        "runtime": "process", "command": [sys.executable, "-c", code], "resources": {"memory": "64Mi"},
        "volumes": [{"name": "data", "path": "/data", "backup": words}], "update": {"healthy_for": "0s"},
        "stop_timeout": "1s",
    } | keys  # fmt: skip


def facts(cloud: Cloud) -> VolumeFacts:
    with cloud.store.read() as tx:
        return load_volumes(tx)


def data(cloud: Cloud, app: str, node: str = "one") -> Path:
    (found,) = (cloud.agent_state(node) / "volumes").glob(f"*{app}-0-data")
    return found


def ended(cloud: Cloud, app: str, kind: Any, state: Any = "done", seconds: float = 40.0) -> Any:
    return wait_for(
        f"{kind} of {app} to be {state}",
        lambda: facts(cloud).last(VolumeId(app, 0, "data"), kind, state),
        seconds,
    )


def test_a_volume_is_backed_up_tested_and_restored(cloud: Cloud, s3: S3) -> None:
    cloud.wait_commit(cloud.push({"apps/keeper.yaml": writer(backup(s3))}))
    made = ended(cloud, "keeper", "backup")
    assert made.reason == "it has no snapshot yet"
    tested = ended(cloud, "keeper", "test")
    assert tested.snapshot == made.snapshot
    assert (tested.files, tested.bytes) == (2, 1)
    where = data(cloud, "keeper")
    assert [p.name for p in where.parent.iterdir() if ".kept-" in p.name] == []
    (where / "note").write_text("something new")
    done = cloud.cli("backup", "run", "keeper")
    assert done.returncode == 0, done.stderr
    (where / "note").write_text("spoiled")
    (where / "other").write_text("unwanted")
    dry = cloud.cli("backup", "restore", "keeper", "--dry-run")
    assert "would be done: snapshot" in dry.stdout
    assert (where / "note").read_text() == "spoiled"
    restored = cloud.cli("backup", "restore", "keeper", "data", "--yes")
    assert restored.returncode == 0, restored.stderr + cloud.log("agent-one")[-2000:]
    assert "what it held before is kept as" in restored.stdout
    assert (where / "note").read_text() == "something new"
    assert not (where / "other").exists()
    (kept,) = [p for p in where.parent.iterdir() if ".kept-" in p.name]
    assert (kept / "note").read_text() == "spoiled"
    # The copy was stopped for the change, and started again: it counts its starts.
    wait_for("the app to run again", lambda: (where / "starts").read_text() == "xx")
    # An earlier one, by its id.
    restored = cloud.cli("backup", "restore", "keeper", "--snapshot", made.snapshot[:10], "--yes")
    assert restored.returncode == 0, restored.stderr
    assert not (where / "note").exists()
    listed = json.loads(cloud.cli("backup", "list", "keeper", "--json").stdout)
    assert listed[0]["snapshots"][0]["id"] == made.snapshot
    assert listed[0]["node"] == "one"
    page = httpx.get(f"http://127.0.0.1:{cloud.web}/apps/keeper").text
    assert "Volumes that are backed up" in page
    assert "restores" in page
    # Only as many as are to be kept.
    assert cloud.cli("backup", "run", "keeper").returncode == 0
    listed = json.loads(cloud.cli("backup", "list", "keeper", "--json").stdout)
    assert len(listed[0]["snapshots"]) == 2
    assert made.snapshot not in [s["id"] for s in listed[0]["snapshots"]]


def alone(found: list[Any]) -> list[Any] | None:
    return found if len(found) == 1 else None


def test_a_containers_volume_is_restored_into_another_apps(cloud: Cloud, s3: S3, busybox: str) -> None:
    client = docker.from_env()
    script = "[ -e /data/db ] || echo one > /data/db; chmod 700 /data; sleep 100000"

    def box(words: dict[str, Any] | None) -> dict[str, Any]:
        volume = {"name": "data", "path": "/data"} | ({"backup": words} if words else {})
        return {"image": busybox, "command": ["sh", "-c", script], "resources": {"memory": "16Mi"},
                "volumes": [volume], "update": {"healthy_for": "0s"}, "stop_timeout": "1s"}  # fmt: skip

    def inside(app: str, command: str) -> str:
        mine = {"label": [f"a67.cloud={cloud.name}", f"a67.app={app}"]}
        # While one is replaced there may be none, or one that goes.
        (found,) = wait_for(
            f"one copy of {app}", lambda: alone(client.containers.list(ignore_removed=True, filters=mine))
        )
        try:
            return str(found.exec_run(["sh", "-c", command]).output.decode())
        except docker.errors.APIError:
            # It went meanwhile.
            return ""

    first = box(backup(s3, pre=["sh", "-c", "date +%s%N > /data/dump; echo done"], post="rm -f /data/tmp"))
    cloud.wait_commit(cloud.push({"apps/db.yaml": first, "apps/copy.yaml": box(None)}))
    made = ended(cloud, "db", "backup")
    assert made.files == 2
    ended(cloud, "db", "test")
    inside("copy", "echo two > /data/db")
    restored = cloud.cli("backup", "restore", "db", "--to", "copy", "--yes")
    assert restored.returncode == 0, restored.stderr + cloud.log("agent-one")[-2000:]
    mine = {"label": [f"a67.cloud={cloud.name}", "a67.app=copy"]}
    wait_for("the copy to run again", lambda: client.containers.list(ignore_removed=True, filters=mine))
    wait_for("the restored file", lambda: inside("copy", "cat /data/db").strip() == "one")
    assert inside("copy", "stat -c %a /data").strip() == "700"
    # What it held before is a volume that no app owns.
    (kept,) = [v for v in client.volumes.list() if f"a67-{cloud.name}-copy-0-data.kept-" in v.name]
    assert Path(kept.attrs["Mountpoint"], "db").read_text() == "two\n"
    assert "a67.app" not in kept.attrs["Labels"]
    kept.remove()
    # A pre command that fails makes no snapshot, and the history says why.
    first["volumes"][0]["backup"]["pre"] = ["sh", "-c", "echo no such table; exit 3"]
    cloud.wait_commit(cloud.push({"apps/db.yaml": first}))
    failed = wait_for("the new words", lambda: run_failed(cloud))
    assert "pre: sh ended with 3: no such table" in failed
    seen = httpx.get(f"http://127.0.0.1:{cloud.web}/api/v1/overview").json()["concerns"]
    assert [c["detail"] for c in seen if c["title"] == "The backup of db/data fails"] == [
        "backup: pre: sh ended with 3: no such table"
    ]
    listed = json.loads(cloud.cli("backup", "list", "db", "--json").stdout)
    assert len(listed[0]["snapshots"]) == 1
    # The volumes are there when the apps are not.
    cloud.push({"apps/db.yaml": None, "apps/copy.yaml": None})
    wait_for(
        "the containers to go",
        lambda: not client.containers.list(ignore_removed=True, filters={"label": [f"a67.cloud={cloud.name}"]}),
    )
    assert Path(client.volumes.get(f"a67-{cloud.name}-db-0-data").attrs["Mountpoint"], "db").read_text() == "one\n"
    client.close()


def run_failed(cloud: Cloud) -> str:
    done = cloud.cli("backup", "run", "db", check=False)
    return done.stderr if done.returncode == 1 else ""


def test_a_copy_is_stopped_while_it_is_backed_up(cloud: Cloud, s3: S3) -> None:
    cloud.wait_commit(cloud.push({"apps/still.yaml": writer(backup(s3, stop=True, test="100d"))}))
    ended(cloud, "still", "test")
    where = data(cloud, "still")
    wait_for("it to run", (where / "starts").exists)
    before = (where / "starts").read_text()
    assert cloud.cli("backup", "run", "still").returncode == 0
    wait_for("it to run again", lambda: (where / "starts").read_text() == before + "x")
    assert "remove (its volume: it is backed up)" in cloud.log("agent-one")


def test_nothing_of_the_secrets_is_to_be_found(cloud: Cloud) -> None:
    """Run after the others: what they left is searched for the password and the keys."""
    places = [p for p in cloud.directory.rglob("*") if p.is_file() and "cloud.git" not in p.parts]
    assert len(places) > 50
    for path in places:
        content = path.read_bytes()
        for value in (PASSWORD, SECRET, ACCESS):
            assert value.encode() not in content, path
    recovered = cloud.cli("backup", "recovery", "still").stdout
    assert PASSWORD in recovered
    environment = os.environ | dict(line.removeprefix("export ").replace("'", "").split("=", 1)
                                    for line in recovered.splitlines() if line.startswith("export "))  # fmt: skip
    done = subprocess.run(["restic", "snapshots", "--no-cache"], env=environment, capture_output=True, text=True)
    assert "2 snapshots" in done.stdout, done.stderr
