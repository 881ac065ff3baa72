"""``automator67 plan --base --head``: two commits compared purely, with documented exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

GIT = ["git", "-c", "user.name=Ana", "-c", "user.email=ana@example.org", "-c", "commit.gpgsign=false"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "apps").mkdir()
    (tmp_path / "automator67.yaml").write_text("name: home\n")
    (tmp_path / "apps" / "web.yaml").write_text("image: example/web:1.4\nenv: {PASSWORD: hunter2}\n")
    (tmp_path / "apps" / "old.yaml").write_text("image: example/old:1\n")
    subprocess.run([*GIT, "init", "-q", "-b", "main", "."], cwd=tmp_path, check=True)
    commit(tmp_path)
    (tmp_path / "apps" / "web.yaml").write_text("image: example/web:1.5\nreplicas: 2\nenv: {PASSWORD: hunter3}\n")
    (tmp_path / "apps" / "old.yaml").unlink()
    (tmp_path / "apps" / "new.yaml").write_text("image: example/new:1\n")
    commit(tmp_path)
    return tmp_path


def commit(clone: Path) -> None:
    subprocess.run([*GIT, "add", "-A"], cwd=clone, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "x"], cwd=clone, check=True)


def plan(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "automator67.engine.cli", "plan", "--state", str(clone / "none"), *arguments]
    return subprocess.run(argv, cwd=clone, capture_output=True, text=True)


def test_two_commits_are_compared(clone: Path) -> None:
    done = plan(clone, "--base", "HEAD~1", "--head", "HEAD", "--json")
    assert done.returncode == 1
    data = json.loads(done.stdout)
    changes = {c["resource"]: c for c in data["changes"]}
    assert {r: c["kind"] for r, c in changes.items()} == {"app/web": "update", "app/new": "create", "app/old": "delete"}
    fields = {f["path"]: (f["old"], f["new"]) for f in changes["app/web"]["fields"]}
    assert fields["image"] == ("example/web:1.4", "example/web:1.5")
    assert fields["replicas"] == ("", "2")
    assert "hunter" not in done.stdout
    text = plan(clone, "--base", "HEAD~1", "--head", "HEAD").stdout
    assert "image: example/web:1.4 → example/web:1.5" in text
    assert "1 to create, 1 to update, 1 to delete; 0 unchanged" in text


def test_nothing_to_do_is_exit_code_0_and_an_error_255(clone: Path) -> None:
    assert plan(clone, "--base", "HEAD", "--head", "HEAD").returncode == 0
    missing = plan(clone, "--base", "HEAD", "--head", "nowhere")
    assert (missing.returncode, len(missing.stderr.splitlines())) == (255, 1)
    (clone / "apps" / "web.yaml").write_text("imagee: x\n")
    commit(clone)
    broken = plan(clone, "--base", "HEAD~1", "--head", "HEAD")
    assert broken.returncode == 255
    assert "apps/web.yaml:1:1" in broken.stderr
    without = plan(clone, "HEAD~1")
    assert (without.returncode, "there is no store" in without.stderr) == (255, True)
