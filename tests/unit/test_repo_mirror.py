"""The mirror over a repository on this disk: following, refusing, and healing itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from automator67.engine.remote_errors import BranchMissing, MirrorFailed, RemoteUnreachable, UnknownCommit
from automator67.engine.repo.address import BadAddress
from automator67.engine.repo.local import LocalRepository
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.tree import Tree
from tests.support.githttp import commit_files, git


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    git("init", "-q", "--bare", "-b", "main", path)
    return path


@pytest.fixture
def mirror(tmp_path: Path, remote: Path) -> Mirror:
    return Mirror(tmp_path / "state" / "mirror.git", f"file://{remote}", "main")


def test_follows_the_branch(mirror: Mirror, remote: Path) -> None:
    assert mirror.head() is None
    first = commit_files(remote, {"apps/a.yaml": "image: a\n"})
    found = mirror.fetch()
    assert (found.head, found.previous, found.forced) == (first, None, False)
    second = commit_files(remote, {"apps/a.yaml": "image: b\n"})
    found = mirror.fetch()
    assert (found.head, found.previous, found.forced) == (second, first, False)
    again = mirror.fetch()
    assert (again.head, again.previous, again.forced) == (second, second, False)
    assert mirror.head() == second


def test_a_plain_path_and_a_repository_with_a_work_tree(tmp_path: Path) -> None:
    work = tmp_path / "work"
    git("init", "-q", "-b", "main", work)
    (work / "automator67.yaml").write_text("name: home\n")
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "first", cwd=work)
    mirror = Mirror(tmp_path / "m.git", str(work), "main")
    assert mirror.fetch().head == git("rev-parse", "HEAD", cwd=work)


def test_brings_only_the_wanted_branch_and_no_tags(mirror: Mirror, remote: Path) -> None:
    commit_files(remote, {"a": "1"})
    other = commit_files(remote, {"b": "2"}, branch="other")
    git("-C", remote, "tag", "v1", "main")
    mirror.fetch()
    refs = git("-C", mirror.path, "for-each-ref", "--format=%(refname)").splitlines()
    assert refs == ["refs/heads/main"]
    assert other not in mirror.repository
    assert mirror.repository.get(git("-C", remote, "rev-parse", "other:b")) is None


def test_a_rewritten_branch_is_followed_and_named_so(mirror: Mirror, remote: Path) -> None:
    base = commit_files(remote, {"a": "1"})
    old = commit_files(remote, {"a": "2"})
    mirror.fetch()
    git("-C", remote, "update-ref", "refs/heads/main", base)
    new = commit_files(remote, {"a": "3"})
    found = mirror.fetch()
    assert (found.head, found.previous, found.forced) == (new, old, True)
    git("-C", remote, "update-ref", "refs/heads/main", base)
    found = mirror.fetch()
    assert (found.head, found.previous, found.forced) == (base, new, True)


def test_a_deleted_branch_keeps_the_last_commit(mirror: Mirror, remote: Path) -> None:
    last = commit_files(remote, {"a": "1"})
    commit_files(remote, {"a": "1"}, branch="maine")
    mirror.fetch()
    git("-C", remote, "update-ref", "-d", "refs/heads/main")
    with pytest.raises(BranchMissing, match=f"did you mean 'maine'.*keeping the last commit, {last[:12]}"):
        mirror.fetch()
    git("-C", remote, "update-ref", "-d", "refs/heads/maine")
    with pytest.raises(BranchMissing, match="is empty; keeping"):
        mirror.fetch()
    assert mirror.head() == last
    assert Tree(mirror, last).entries() == []


def test_an_empty_remote_says_what_to_do(mirror: Mirror) -> None:
    with pytest.raises(BranchMissing, match="push a first commit"):
        mirror.fetch()
    assert mirror.head() is None
    assert not mirror.path.exists()


def test_another_branch_can_be_followed_later(mirror: Mirror, remote: Path) -> None:
    commit_files(remote, {"a": "1"})
    mirror.fetch()
    stage = commit_files(remote, {"b": "1"}, branch="stage/one")
    other = Mirror(mirror.path, str(remote), "stage/one")
    assert other.fetch().previous is None
    assert other.head() == stage
    assert LocalRepository(mirror.path).head() == stage
    assert "refs/heads/main" not in git("-C", mirror.path, "for-each-ref")


def test_no_repository_there(tmp_path: Path) -> None:
    with pytest.raises(RemoteUnreachable, match="there is no git repository at"):
        Mirror(tmp_path / "m.git", str(tmp_path / "nowhere"), "main").fetch()
    (tmp_path / "plain").mkdir()
    with pytest.raises(RemoteUnreachable, match="there is no git repository at"):
        Mirror(tmp_path / "m.git", str(tmp_path / "plain"), "main").fetch()


@pytest.mark.parametrize("branch", ["", "a b", "x:refs/heads/y", "*", "-d", "a..b", "x^", "../x"])
def test_a_branch_name_cannot_be_a_refspec(tmp_path: Path, branch: str) -> None:
    with pytest.raises(BadAddress, match="cannot be the name of a branch"):
        Mirror(tmp_path / "m.git", "/x", branch)


def test_a_commit_that_is_not_accepted_is_not_followed(mirror: Mirror, remote: Path) -> None:
    seen: list[str] = []

    def never(commit: str) -> None:
        seen.append(commit)
        assert Tree(mirror, commit).entries()
        raise PermissionError("no")

    first = commit_files(remote, {"apps/a.yaml": "1"})
    for _ in range(2):
        with pytest.raises(PermissionError):
            mirror.fetch(never)
        assert mirror.head() is None
    assert mirror.fetch(seen.append).head == first
    second = commit_files(remote, {"apps/a.yaml": "2"})
    with pytest.raises(PermissionError):
        mirror.fetch(never)
    assert mirror.head() == first
    mirror.fetch(seen.append)
    mirror.fetch(seen.append)
    assert seen == [first, first, first, second, second]


def test_a_damaged_copy_is_made_anew(mirror: Mirror, remote: Path) -> None:
    first = commit_files(remote, {"apps/a.yaml": "image: a\n"})
    mirror.fetch()
    for pack in (mirror.path / "objects" / "pack").iterdir():
        pack.unlink()
    fresh = Mirror(mirror.path, str(remote), "main")
    found = fresh.fetch()
    assert (found.head, found.previous, found.forced) == (first, first, False)
    assert Tree(fresh, first).entries()[0].path == "apps/a.yaml"


def test_a_missing_object_has_the_copy_made_anew(mirror: Mirror, remote: Path) -> None:
    head = commit_files(remote, {"apps/a.yaml": "image: a\n", "apps/b.yaml": "image: b\n"})
    blob = git("-C", remote, "rev-parse", "main:apps/a.yaml")
    mirror.fetch()
    git("-C", mirror.path, "unpack-objects", "-q", data=_packed_without(mirror.path, blob))
    fresh = Mirror(mirror.path, str(remote), "main")
    with pytest.raises(MirrorFailed, match="is damaged at object"):
        Tree(fresh, head).entries()
    assert fresh.fetch().head == head
    assert len(Tree(fresh, head).entries()) == 2


def _packed_without(path: Path, blob: str) -> bytes:
    """Take all packs away; return a pack of all objects but one."""
    import subprocess

    ids = [line.split()[0] for line in git("-C", path, "rev-list", "--objects", "--all").splitlines()]
    keep = "\n".join(i for i in ids if i != blob) + "\n"
    pack = subprocess.run(
        ["git", "-C", path, "pack-objects", "--stdout", "-q"], input=keep.encode(), capture_output=True, check=True
    ).stdout
    shutil.rmtree(path / "objects" / "pack")
    (path / "objects" / "pack").mkdir()
    return pack


def test_a_submodule_is_not_looked_for(mirror: Mirror, remote: Path) -> None:
    tree = git("-C", remote, "mktree", "--missing", data=f"160000 commit {'1' * 40}\tmodule\n".encode())
    git("-C", remote, "update-ref", "refs/heads/main", git("-C", remote, "commit-tree", "-m", "x", tree))
    assert mirror.fetch().head == git("-C", remote, "rev-parse", "main")


def test_a_directory_that_cannot_be_written(tmp_path: Path, remote: Path) -> None:
    (tmp_path / "file").write_text("")
    commit_files(remote, {"a": "1"})
    with pytest.raises(MirrorFailed, match="cannot be written"):
        Mirror(tmp_path / "file" / "m.git", str(remote), "main").fetch()


def test_reading_another_repository(tmp_path: Path, remote: Path) -> None:
    first = commit_files(remote, {"a": "1"})
    assert LocalRepository(remote).resolve("main") == first
    assert LocalRepository(remote).head() == first
    with pytest.raises(UnknownCommit, match="no commit 'nope'"):
        LocalRepository(remote).resolve("nope")
    with pytest.raises(MirrorFailed, match="there is no git repository at"):
        LocalRepository(tmp_path)
    git("init", "-q", "--bare", tmp_path / "empty.git")
    assert LocalRepository(tmp_path / "empty.git").head() is None
