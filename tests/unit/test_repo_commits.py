"""Commits as people see and name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from automator67.engine.remote_errors import UnknownCommit
from automator67.engine.repo.commits import changed_paths, commit_info, is_ancestor, log, resolve
from automator67.engine.repo.local import LocalRepository
from tests.support.githttp import commit_files, git


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "r.git"
    git("init", "-q", "--bare", "-b", "main", path)
    return path


def _raw_commit(path: Path, author: bytes, message: bytes) -> str:
    tree = git("-C", path, "mktree", data=b"")
    text = b"tree " + tree.encode() + b"\nauthor " + author + b" 1700000000 +0130\ncommitter " + author
    text += b" 1700000001 -0800\n\n" + message
    return git("-C", path, "hash-object", "-w", "-t", "commit", "--literally", "--stdin", data=text)


def test_a_commit_tells_who_when_and_why(path: Path) -> None:
    first = commit_files(path, {"a": "1"})
    second = commit_files(path, {"a": "2"}, "Scale the blog\n\nIt was slow.")
    info = commit_info(LocalRepository(path), second)
    assert (info.id, info.parents, info.author, info.email) == (second, (first,), "Ana", "ana@example.org")
    assert info.subject == "Scale the blog"
    assert info.time == float(git("-C", path, "show", "-s", "--format=%ct", second))


def test_hostile_texts_become_one_harmless_line(path: Path) -> None:
    bad = _raw_commit(
        path, b"A\x1b[31mna \xff <a@b>", b"\n\nfirst \x1b]0;x\x07line\r\xe2\x80\xaeevil" + b"y" * 999 + b"\nsecond"
    )
    info = commit_info(LocalRepository(path), bad)
    assert info.author == "A [31mna \ufffd"
    assert info.subject.startswith("first ]0;x line evil")
    assert len(info.subject) == 200
    assert info.subject.endswith("…")
    assert info.time == 1700000001.0


def test_an_empty_message_and_author(path: Path) -> None:
    info = commit_info(LocalRepository(path), _raw_commit(path, b" <>", b""))
    assert (info.author, info.email, info.subject) == ("", "", "")


def test_the_log_is_newest_first_and_bounded(path: Path) -> None:
    ids = [commit_files(path, {"a": str(i)}, f"c{i}") for i in range(5)]
    repo = LocalRepository(path)
    assert [c.id for c in log(repo, ids[-1], 3)] == ids[:1:-1]
    assert [c.subject for c in log(repo, ids[1])] == ["c1", "c0"]
    with pytest.raises(UnknownCommit):
        log(repo, "0" * 40)


def test_the_log_of_a_shallow_clone_ends_where_it_ends(path: Path, tmp_path: Path) -> None:
    for i in range(4):
        commit_files(path, {"a": str(i)})
    git("clone", "-q", "--bare", "--depth", "2", f"file://{path}", tmp_path / "shallow.git")
    repo = LocalRepository(tmp_path / "shallow.git")
    assert len(log(repo, repo.head() or "")) == 2


def test_names_of_commits(path: Path) -> None:
    first = commit_files(path, {"a": "1"})
    second = commit_files(path, {"a": "2"})
    git("-C", path, "tag", "-a", "-m", "x", "v1.0", first)
    repo = LocalRepository(path)
    for name in ("HEAD", "main", "refs/heads/main", second, second[:8], "HEAD~0"):
        assert resolve(repo, name) == second
    for name in ("HEAD~1", "HEAD^", "main~", "v1.0", first[:10]):
        assert resolve(repo, name) == first


@pytest.mark.parametrize(
    "name",
    [
        "",
        "HEAD~9",
        "nope",
        "HEAD:a",
        ":/change",
        "HEAD^{/change}",
        "HEAD@{1}",
        "--all",
        "-x",
        "a b",
        "\x1b",
        "HEAD^{tree}",
        "/etc",
        "x" * 999,
    ],
)  # fmt: skip
def test_what_names_no_commit_says_so(path: Path, name: str) -> None:
    commit_files(path, {"a": "1"})
    with pytest.raises(UnknownCommit) as raised:
        resolve(LocalRepository(path), name)
    assert "\x1b" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_changed_paths(path: Path) -> None:
    first = commit_files(path, {"apps/a.yaml": "1", "apps/b.yaml": "1\n2\n3\n"})
    second = commit_files(path, {"apps/a.yaml": "2", "apps/b.yaml": None, "apps/c.yaml": "1\n2\n3\n"})
    repo = LocalRepository(path)
    assert changed_paths(repo, first, second) == ["apps/a.yaml", "apps/b.yaml", "apps/c.yaml"]
    assert changed_paths(repo, second, second) == []
    assert changed_paths(repo, None, first) == ["apps/a.yaml", "apps/b.yaml"]
    with pytest.raises(UnknownCommit):
        changed_paths(repo, "0" * 40, second)


def test_ancestors(path: Path) -> None:
    first = commit_files(path, {"a": "1"})
    second = commit_files(path, {"a": "2"})
    repo = LocalRepository(path)
    assert is_ancestor(repo, first, second)
    assert is_ancestor(repo, second, second)
    assert not is_ancestor(repo, second, first)
