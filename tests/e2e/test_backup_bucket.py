"""Volumes are backed up into a bucket of the cloud itself, through the engine, and restored from it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from automator67.engine.store.tables import posts
from tests.e2e.test_backups import data, ended, facts, pytestmark, writer
from tests.support.buckets import KEY
from tests.support.cloud import Cloud, wait_for

__all__ = ["pytestmark"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    with Cloud(folder, nodes=("one", "two"), runtime="process") as cloud:
        cloud.poll = "300ms"
        cloud.seal("photos-key", KEY)
        beat = {"interval": "1s", "suspect_after": "3s", "failing_after": "4s", "unavailable_after": "5s"}
        beat |= {"lease": "6s", "recover_after": "1s"}
        base = cloud.base()
        base["automator67.yaml"] |= {"heartbeat": beat}
        disks = {}
        for n in (1, 2):
            (folder / f"disk{n}").mkdir()
            disks[f"nodes/disk{n}.yaml"] = {"kind": "local", "bucket": str(folder / f"disk{n}")}
        bucket = {"providers": ["disk1", "disk2"], "key": {"secret": "photos-key"}}
        cloud.push({**base, **disks, "buckets/photos.yaml": bucket})
        cloud.up()
        yield cloud


def kept(**more: Any) -> dict[str, Any]:
    return {"bucket": "photos", "every": "1h", "keep": 2, **more}


def serving(cloud: Cloud) -> dict[int, str]:
    """Return the processes that serve buckets, with their arguments and environment."""
    engine, found = cloud.processes["engine"].pid, {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            words = (entry / "cmdline").read_bytes().decode()
            if "engine.s3.inner" in words and f"\nPPid:\t{engine}\n" in (entry / "status").read_text():
                found[int(entry.name)] = words + (entry / "environ").read_bytes().decode()
    return found


def storage(cloud: Cloud) -> tuple[str, str]:
    """Return what the commit's storage status is to say."""
    with cloud.store.read() as tx:
        asked = select(posts.c.state, posts.c.description).where(posts.c.context == "automator67/storage")
        found = tx.execute(asked.order_by(posts.c.wanted_at.desc())).first()
    return (found.state, found.description) if found else ("", "")


def test_a_volume_goes_into_a_bucket_and_comes_back(cloud: Cloud) -> None:
    cloud.wait_commit(cloud.push({"apps/keeper.yaml": writer(kept(), place={"avoid": ["two"]})}))
    made = ended(cloud, "keeper", "backup")
    tested = ended(cloud, "keeper", "test")
    assert (tested.snapshot, tested.files, tested.bytes) == (made.snapshot, 2, 1)
    for n in (1, 2):
        assert sum(1 for p in (cloud.directory / f"disk{n}").rglob("*") if p.is_file()) >= 3
    where = data(cloud, "keeper")
    (where / "note").write_text("something new")
    wait_for("the storage status", lambda: storage(cloud) == ("success", "1 bucket healthy, 1 volume backed up"), 15.0)
    # Its process may be lost at any time.
    ((server, words),) = serving(cloud).items()
    assert KEY.decode().strip() not in words
    os.kill(server, signal.SIGKILL)
    done = cloud.cli("backup", "run", "keeper")
    assert done.returncode == 0, done.stderr
    (where / "note").write_text("spoiled")
    restored = cloud.cli("backup", "restore", "keeper", "--yes")
    assert restored.returncode == 0, restored.stderr + cloud.log("agent-one")[-2000:]
    assert (where / "note").read_text() == "something new"


def test_without_the_engine_the_files_come_out_of_the_bucket(cloud: Cloud, tmp_path: Path) -> None:
    words = cloud.cli("backup", "recovery", "keeper").stdout
    (line,) = [w for w in words.splitlines() if "bucket cp" in w]
    bucket = line.split()[-2]
    assert bucket == "photos:backups/" + bucket.removeprefix("photos:backups/")
    work = tmp_path / "work"
    subprocess.run(["git", "clone", "-q", str(cloud.bare), str(work)], check=True)
    out = tmp_path / "out"
    copied = cloud.cli("bucket", "cp", "--recursive", bucket, str(out), "--repo", str(work))
    assert copied.returncode == 0, copied.stderr
    (password,) = [w.split("=", 1)[1].strip("'") for w in words.splitlines() if "RESTIC_PASSWORD" in w]
    listed = subprocess.run(
        ["restic", "-r", str(out), "snapshots", "--no-cache"],
        env=os.environ | {"RESTIC_PASSWORD": password}, capture_output=True, text=True,
    )  # fmt: skip
    assert "2 snapshots" in listed.stdout, listed.stderr


def test_a_lost_node_is_replaced_from_the_bucket(cloud: Cloud) -> None:
    cloud.wait_commit(
        cloud.push({"apps/moving.yaml": writer(kept(), failover="restore", place={"prefer": {"node": "one"}})})
    )
    ended(cloud, "moving", "test")
    home = facts(cloud).homes["moving", 0]
    other = "two" if home == "one" else "one"
    (data(cloud, "moving", home) / "note").write_text("in the snapshot")
    assert cloud.cli("backup", "run", "moving").returncode == 0
    cloud.kill(f"agent-{home}")
    wait_for("it to be elsewhere", lambda: facts(cloud).homes.get(("moving", 0)) == other, 90.0)
    assert (data(cloud, "moving", other) / "note").read_text() == "in the snapshot"
    cloud.start_agent(home)


def test_the_engine_ends_what_serves_buckets(cloud: Cloud) -> None:
    (server,) = serving(cloud)
    cloud.kill("engine")
    wait_for("the process to go", lambda: not Path(f"/proc/{server}").exists())
    cloud.start_engine()


def test_a_bucket_without_a_key_is_refused_with_the_words_to_write(cloud: Cloud) -> None:
    bucket = {"providers": ["disk1"], "replicas": 1}
    app = writer({"bucket": "open"})
    pushed = cloud.push({"buckets/open.yaml": bucket, "apps/picture.yaml": app})
    record = cloud.wait_commit(pushed, "invalid")
    assert "bucket open has no key" in str(record)
    cloud.push({"buckets/open.yaml": None, "apps/picture.yaml": None})
