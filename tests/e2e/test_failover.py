"""A node that holds a volume is lost: its volume is restored elsewhere, and what it comes back with is set aside."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from automator67.engine.volumes import Run, VolumeId
from tests.e2e.test_backups import backup, data, ended, facts, seal_all, writer
from tests.support.cloud import Cloud, wait_for
from tests.support.s3 import S3

pytestmark = [pytest.mark.skipif(not shutil.which("restic"), reason="restic is not on this machine"), pytest.mark.slow]


def test_the_app_goes_on_elsewhere_with_its_latest_snapshot(tmp_path: Path) -> None:
    with S3(tmp_path) as s3, Cloud(tmp_path / "cloud", nodes=("one", "two")) as cloud:
        cloud.poll = "300ms"
        seal_all(cloud)
        base = cloud.base()
        beat = {"interval": "1s", "suspect_after": "3s", "failing_after": "4s", "unavailable_after": "5s"}
        beat |= {"lease": "6s", "recover_after": "1s"}
        base["automator67.yaml"] |= {"heartbeat": beat}
        cloud.push(base)
        cloud.up()
        app = writer(backup(s3, test="30d"), failover="restore", place={"prefer": {"node": "one"}})
        cloud.wait_commit(cloud.push({"apps/mover.yaml": app}))
        ended(cloud, "mover", "test")
        old = facts(cloud).homes["mover", 0]
        new = {"one": "two", "two": "one"}[old]
        where = data(cloud, "mover", old)
        (where / "note").write_text("in the snapshot")
        assert cloud.cli("backup", "run", "mover").returncode == 0
        (where / "note").write_text("written after it")
        starts = (where / "starts").read_text()

        cloud.kill(f"agent-{old}")
        cloud.wait_app("mover", lambda s: s.sync in ("blocked", "progressing"), 30)
        wait_for("the app to run elsewhere", lambda: running(cloud, "mover", new), 60)
        assert (data(cloud, "mover", new) / "note").read_text() == "in the snapshot"
        assert facts(cloud).homes["mover", 0] == new
        # The copy on the lost node had stopped before: nothing was written there any more.
        assert (where / "starts").read_text() == starts

        cloud.start_agent(old)
        aside = wait_for("the old volume to be set aside", lambda: last_aside(cloud), 40)
        assert aside.node == old
        (kept,) = [p for p in where.parent.iterdir() if ".kept-" in p.name]
        assert (kept / "note").read_text() == "written after it"
        assert str(kept) in aside.message
        wait_for("the old volume to be gone", lambda: not where.exists())
        cloud.wait_app("mover", lambda s: s.sync == "synced" and s.health == "healthy")
        assert [i["node"] for i in cloud.app("mover").instances] == [new]  # type: ignore[union-attr]


def last_aside(cloud: Cloud) -> Run | None:
    return facts(cloud).last(VolumeId("mover", 0, "data"), "aside", "done")


def running(cloud: Cloud, app: str, node: str) -> list[Path]:
    found = (cloud.agent_state(node) / "instances").glob(f"{app}-0-*/process.json")
    return list(found)
