"""Listing and reading the files of a commit: only what is ours, within bounds, whatever the repository holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from automator67.engine.remote_errors import BlobTooLarge, MirrorFailed, UnknownCommit, UnusableTree
from automator67.engine.repo import tree as tree_module
from automator67.engine.repo.local import LocalRepository
from automator67.engine.repo.tree import MAX_BLOB_BYTES, MAX_DEPTH, Tree
from tests.support.githttp import commit_files, git


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "r.git"
    git("init", "-q", "--bare", "-b", "main", path)
    return path


def test_lists_the_known_folders_and_nothing_else(path: Path) -> None:
    files: dict[str, str | None] = {
        name: name
        for name in (
            "automator67.yaml", "README.md", "nodes/a.yaml", "apps/a.yaml", "apps/deep/b.yaml", "shards/s.yaml",
            "buckets/b.yaml", "secrets/x.sealed", "queries/q.sql", "src/main.py", "configs/no.yaml", "sub/apps/c.yaml",
        )
    }  # fmt: skip
    head = commit_files(path, files)
    found = Tree(LocalRepository(path), head).entries()
    assert [e.path for e in found] == [
        "apps/a.yaml", "apps/deep/b.yaml", "automator67.yaml", "buckets/b.yaml", "nodes/a.yaml", "queries/q.sql",
        "secrets/x.sealed", "shards/s.yaml",
    ]  # fmt: skip
    assert {e.path: (e.blob, e.size, e.mode) for e in found}["apps/a.yaml"] == (
        git("-C", path, "rev-parse", "main:apps/a.yaml"), len("apps/a.yaml"), 0o100644,
    )  # fmt: skip


@pytest.mark.parametrize("subdir", ["clouds/home", "/clouds/home/", "./clouds//home"])
def test_paths_are_relative_to_the_folder(path: Path, subdir: str) -> None:
    head = commit_files(path, {"clouds/home/apps/a.yaml": "1", "apps/other.yaml": "2"})
    assert [e.path for e in Tree(LocalRepository(path), head, subdir).entries()] == ["apps/a.yaml"]


def test_a_folder_that_is_not_there(path: Path) -> None:
    head = commit_files(path, {"a/b": "1"})
    for subdir in ("nope", "a/b", "../x", "a/.."):
        with pytest.raises(UnusableTree, match="has no folder"):
            Tree(LocalRepository(path), head, subdir)


def test_an_unknown_commit(path: Path) -> None:
    head = commit_files(path, {"a": "1"})
    for wrong in ("0" * 40, "", "zz", git("-C", path, "rev-parse", f"{head}^{{tree}}")):
        with pytest.raises(UnknownCommit):
            Tree(LocalRepository(path), wrong)


def test_reads_content_byte_for_byte(path: Path) -> None:
    head = commit_files(path, {"apps/a.yaml": "image: ä\r\n\x00end"})
    tree = Tree(LocalRepository(path), head)
    assert tree.read(tree.entries()[0].blob) == "image: ä\r\n\x00end".encode()


def test_a_file_that_is_too_large_is_not_loaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = commit_files(path, {"apps/big.yaml": "x" * (MAX_BLOB_BYTES + 1), "apps/fits.yaml": "x" * MAX_BLOB_BYTES})
    tree = Tree(LocalRepository(path), head)
    big, fits = tree.entries()
    assert big.size == MAX_BLOB_BYTES + 1
    assert len(tree.read(fits.blob)) == MAX_BLOB_BYTES
    monkeypatch.setattr(tree_module, "raw", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(BlobTooLarge, match=f"{MAX_BLOB_BYTES + 1} bytes"):
        tree.read(big.blob)


def test_an_object_that_is_not_there(path: Path) -> None:
    tree = Tree(LocalRepository(path), commit_files(path, {"a": "1"}))
    for wrong in ("0" * 40, "nonsense"):
        with pytest.raises(MirrorFailed, match="damaged"):
            tree.read(wrong)


def test_links_submodules_and_odd_names_are_told_apart(path: Path) -> None:
    blob = git("-C", path, "hash-object", "-w", "--stdin", data=b"../../etc/passwd")
    lines = [f"120000 blob {blob}\tlink.yaml", f"160000 commit {'1' * 40}\tmodule", f"100755 blob {blob}\trun.sh"]
    raw = "\0".join(lines).encode() + b"\0" + f"100644 blob {blob}\t".encode() + b"caf\xe9\nx.yaml\0"
    apps = git("-C", path, "mktree", "-z", "--missing", data=raw)
    root = git("-C", path, "mktree", data=f"040000 tree {apps}\tapps\n".encode())
    head = git("-C", path, "commit-tree", "-m", "x", root)
    found = {e.path: (e.size, e.mode) for e in Tree(LocalRepository(path), head).entries()}
    assert found == {
        "apps/caf\\xe9\nx.yaml": (16, 0o100644),
        "apps/link.yaml": (16, 0o120000),
        "apps/module": (0, 0o160000),
        "apps/run.sh": (16, 0o100755),
    }


def test_what_stands_in_the_place_of_a_folder_and_near_misses_are_listed(path: Path) -> None:
    blob = git("-C", path, "hash-object", "-w", "--stdin", data=b"other")
    inner = git("-C", path, "mktree", data=f"100644 blob {blob}\ta.yaml\n100644 blob {blob}\tb.txt\n".encode())
    lines = [f"120000 blob {blob}\tapps", f"040000 tree {inner}\tnode", f"040000 tree {inner}\tsrc"]
    root = git("-C", path, "mktree", data="".join(f"{line}\n" for line in lines).encode())
    head = git("-C", path, "commit-tree", "-m", "x", root)
    assert {e.path: e.mode for e in Tree(LocalRepository(path), head).entries()} == {
        "apps": 0o120000,
        "node/a.yaml": 0o100644,
    }


def test_depth_and_number_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = commit_files(path, {"apps/" + "d/" * (MAX_DEPTH - 1) + "a.yaml": "1"})
    assert len(Tree(LocalRepository(path), fine).entries()) == 1
    deep = commit_files(path, {"apps/" + "d/" * MAX_DEPTH + "a.yaml": "1"})
    with pytest.raises(UnusableTree, match="nested deeper"):
        Tree(LocalRepository(path), deep).entries()
    many = commit_files(path, {"apps/d": None, **{f"apps/{i}.yaml": "1" for i in range(5)}})
    monkeypatch.setattr(tree_module, "MAX_ENTRIES", 4)
    with pytest.raises(UnusableTree, match="more than 4 files"):
        Tree(LocalRepository(path), many).entries()


@pytest.mark.parametrize("content", [b"40000 apps\0short", b"100644 automator67.yaml", b"4x000 apps\0" + b"1" * 20])
def test_a_malformed_tree_object_is_an_error_for_a_person(path: Path, content: bytes) -> None:
    import hashlib
    import zlib

    body = b"tree %d\0" % len(content) + content
    name = hashlib.sha1(body).hexdigest()
    (path / "objects" / name[:2]).mkdir(exist_ok=True)
    (path / "objects" / name[:2] / name[2:]).write_bytes(zlib.compress(body))
    text = f"tree {name}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n"
    commit = subprocess.run(
        ["git", "-C", path, "hash-object", "-w", "-t", "commit", "--literally", "--stdin"],
        input=text.encode(), capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip
    with pytest.raises((MirrorFailed, UnknownCommit)):
        Tree(LocalRepository(path), commit).entries()


def test_ten_thousand_files_are_listed_quickly(path: Path) -> None:
    import time

    files: dict[str, str | None] = {f"apps/app{i}.yaml": f"image: x:{i}\n" for i in range(10_000)}
    head = commit_files(path, files)
    took = []
    for _ in range(3):
        start = time.perf_counter()
        assert len(Tree(LocalRepository(path), head).entries()) == 10_000
        took.append(time.perf_counter() - start)
    # Measured 0.02 s; only an entry-by-entry disaster is meant to be caught here.
    assert min(took) < 1.0
