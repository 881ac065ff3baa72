"""Volumes are backed up to a real S3 server by a real restic, restored, and tested; both runtimes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automator67.engine.store.volumes import load_volumes
from automator67.engine.volumes import VolumeFacts, VolumeId
from tests.support.cloud import Cloud, wait_for
from tests.support.s3 import ACCESS, S3, SECRET

pytestmark = [pytest.mark.skipif(not shutil.which("restic"), reason="restic is not on this machine"), pytest.mark.slow]
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
    # Only as many as are to be kept.
    assert cloud.cli("backup", "run", "keeper").returncode == 0
    listed = json.loads(cloud.cli("backup", "list", "keeper", "--json").stdout)
    assert len(listed[0]["snapshots"]) == 2
    assert made.snapshot not in [s["id"] for s in listed[0]["snapshots"]]
