"""Backups and restores that are killed, cut off, given a wrong password or a full disk: nothing half is ever used."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from automator67.agent.restic import ResticError
from automator67.agent.volume_jobs import VolumeError
from tests.e2e.test_backups import backup, data, ended, facts, seal_all, writer
from tests.support.cloud import Cloud, wait_for
from tests.support.s3 import S3
from tests.support.volumes import Node

pytestmark = [pytest.mark.skipif(not shutil.which("restic"), reason="restic is not on this machine"), pytest.mark.slow]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Make a repository with one snapshot, once: restic takes its time over passwords."""
    directory = tmp_path_factory.mktemp("prepared")
    node = Node(directory / "node", directory / "repository")
    node.fill("old")
    return directory, node.do("backup", "b1")


@pytest.fixture
def made(prepared: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    return prepared[1]


@pytest.fixture
def node(prepared: tuple[Path, dict[str, Any]], tmp_path: Path) -> Node:
    shutil.copytree(prepared[0] / "repository", tmp_path / "repository")
    return Node(tmp_path / "node", tmp_path / "repository")


def test_killed_at_any_moment_a_restore_is_whole_or_not_there_and_comes_to_its_end(
    node: Node, made: dict[str, Any]
) -> None:
    old = node.fill("old")
    assert (made["files"], made["bytes"]) == (40, sum(len(v) for v in old.values()))
    new = node.fill("new")
    kills = 0
    # Ever longer, so that a fast machine kills it several times too, and a slow one comes to the end.
    for n in range(22):
        child = node.start("r1", "restore", "switch", snapshot=made["snapshot"])
        try:
            child.wait(0.12 * 1.3**n)
            break
        except subprocess.TimeoutExpired:
            kills += 1
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            assert node.holds() in (old, new)
    assert child.returncode == 0
    assert kills >= 2
    assert node.holds() == old
    kept = node.volume.parent / f"{node.volume.name}.kept-r1"
    assert {p.name: p.read_text() for p in kept.iterdir()} == new
    # Asked for again, since nobody heard that it was done: it does not change back.
    node.do("restore", "r1", snapshot=made["snapshot"])
    node.do("switch", "r1", snapshot=made["snapshot"])
    assert node.holds() == old


def test_a_backup_that_is_killed_leaves_one_snapshot_in_the_end(node: Node) -> None:
    node.fill("new")
    for moment in (0.6, 1.4):
        child = node.start("b2", "backup")
        try:
            child.wait(moment)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    made = node.do("backup", "b2")
    assert len(made["snapshots"]) == 2
    assert made["snapshot"] == made["snapshots"][-1]["id"]


def test_a_wrong_password_says_so_and_changes_nothing(node: Node, made: dict[str, Any]) -> None:
    new = node.fill("new")
    node.password = "wrong"
    for job, run in (("backup", "b2"), ("restore", "r1")):
        with pytest.raises(ResticError, match="the password does not open the repository"):
            node.do(job, run, snapshot=made["snapshot"])
    assert node.holds() == new
    with pytest.raises(VolumeError, match="has to be restored again"):
        node.do("switch", "r1")
    assert node.holds() == new


def test_what_differs_from_what_was_counted_is_not_taken(node: Node, made: dict[str, Any]) -> None:
    with pytest.raises(VolumeError, match="what was restored is not what was backed up: 40 files"):
        node.do("restore", "r1", snapshot=made["snapshot"], files=41, bytes=made["bytes"])
    assert node.beside() == []
    packs = list((node.repository / "here" / "data").glob("*/*"))
    for pack in packs:
        pack.chmod(0o600)
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 0xFF
        pack.write_bytes(content)
    with pytest.raises(ResticError):
        node.do("restore", "r2", snapshot=made["snapshot"])
    assert node.beside() == []


def test_a_directory_of_the_node_needs_its_owners_word(node: Node) -> None:
    shutil.rmtree(node.repository)
    with pytest.raises(VolumeError, match="refused by this node's policy"):
        node.do("backup", "b1", policy={})
    assert not node.repository.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_stops_a_restore_before_it_begins_or_in_the_middle(
    node: Node, made: dict[str, Any], tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=220k,nr_inodes=500", "tmpfs", str(small)], check=True)
    try:
        other = Node(small, node.repository)
        (other.volume / "mine").write_text("stays")
        with pytest.raises(VolumeError, match="the disk is too full to restore: "):
            other.do("restore", "r1", snapshot=made["snapshot"])
        assert other.holds() == {"mine": "stays"}
        assert other.beside() == []
        # Room for the bytes, but not for as many files: it fails in the middle.
        subprocess.run(["mount", "-o", "remount,size=8m,nr_inodes=60", str(small)], check=True)
        with pytest.raises(ResticError, match="no space left"):
            other.do("restore", "r2", snapshot=made["snapshot"])
        assert other.holds() == {"mine": "stays"}
        assert other.beside() == []
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with S3(tmp_path_factory.mktemp("s3")) as server:
        yield server


def test_an_agent_that_is_killed_in_the_middle_goes_on_with_it(tmp_path: Path, s3: S3) -> None:
    with Cloud(tmp_path / "cloud", nodes=("one",)) as cloud:
        cloud.poll = "300ms"
        seal_all(cloud)
        cloud.push(cloud.base())
        cloud.up()
        cloud.wait_commit(cloud.push({"apps/keeper.yaml": writer(backup(s3, test="30d"), stop_timeout="1s")}))
        ended(cloud, "keeper", "test")
        where = data(cloud, "keeper")
        # S3 hangs in the middle of a backup, and of a restore; then the agent is killed.
        (where / "note").write_text("first")
        for verb, kind in (("run", "backup"), ("restore", "restore")):
            s3.pause()
            asked = cloud.cli("backup", verb, "keeper", "--no-wait", *(["--yes"] if verb == "restore" else []))
            assert asked.returncode == 0, asked.stderr
            wait_for(f"{kind} to begin", lambda: children(cloud, "restic"))
            cloud.kill("agent-one")
            wait_for("its restic to be gone", lambda: not children(cloud, "restic"))
            s3.resume()
            assert (where / "note").read_text() == "first"
            (where / "late").write_text("after the snapshot")
            cloud.start_agent("one")
            before = time.time()
            wait_for(f"{kind} to be done", lambda b=before, k=kind: over(cloud, k, b), 60)
            assert [r for r in facts(cloud).runs if r.kind == kind][-1].tries >= 2
        assert (where / "note").read_text() == "first"
        # S3 is away: it fails, says why, and the next one works.
        s3.stop()
        failed = cloud.cli("backup", "run", "keeper", check=False)
        assert failed.returncode == 1
        assert "connection refused" in failed.stderr
        s3.start()
        assert cloud.cli("backup", "run", "keeper").returncode == 0


def over(cloud: Cloud, kind: Any, since: float) -> bool:
    last = [r for r in facts(cloud).runs if r.kind == kind]
    return bool(last) and last[-1].state == "done" and last[-1].ended_at >= since


def children(cloud: Cloud, program: str) -> list[int]:
    """Return the processes of a program that work for this cloud's agent."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "comm").read_text().strip() == program and str(cloud.directory).encode() in (
                path / "environ"
            ).read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found
