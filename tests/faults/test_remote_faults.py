"""A remote that misbehaves, and a machine that dies in the middle: the last good head stays, and it heals."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from automator67.engine.remote_errors import RemoteBroken, RemoteError, RemoteRefused, RemoteUnreachable
from automator67.engine.repo.commits import log
from automator67.engine.repo.credentials import Credentials
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.packs import MAX_PACKS, repack_if_needed
from automator67.engine.repo.tree import Tree
from tests.support.githttp import Fault, GitServer, ServedRepo, commit_files, git
from tests.support.kill import killed_at

BIG = {f"apps/app{i}.yaml": f"image: example/{i * 7919}\n" * 20 for i in range(200)}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path) as running:
        yield running


@pytest.fixture
def repo(server: GitServer) -> ServedRepo:
    return server.create("cloud")


FAULTS: list[tuple[Fault, type[RemoteError], str]] = [
    ("500", RemoteBroken, "answers 500"),
    ("truncate", RemoteBroken, "something broken"),
    ("garbage", RemoteBroken, "something broken"),
    ("stall", RemoteUnreachable, "cannot be reached"),
    ("hang", RemoteUnreachable, "cannot be reached"),
    ("refuse", RemoteRefused, "answers 403"),
    ("missing", RemoteRefused, "answers 404"),
]


@pytest.mark.parametrize(("fault", "kind", "says"), FAULTS, ids=[f[0] for f in FAULTS])
def test_a_fault_changes_nothing_and_passes(
    server: GitServer, repo: ServedRepo, tmp_path: Path, fault: Fault, kind: type[RemoteError], says: str
) -> None:
    first = commit_files(repo.path, {"apps/a.yaml": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main", Credentials("hunter2-token"), silence=0.7)
    mirror.fetch()
    second = commit_files(repo.path, BIG)
    server.fail(fault)
    for _ in range(2):
        with pytest.raises(kind, match=says) as raised:
            mirror.fetch()
        assert "\n" not in str(raised.value)
        assert "hunter2" not in str(raised.value)
        assert mirror.head() == first
        assert [e.path for e in Tree(mirror, first).entries()] == ["apps/a.yaml"]
    server.heal()
    found = mirror.fetch()
    assert (found.head, found.previous, found.forced) == (second, first, False)
    assert len(Tree(mirror, second).entries()) == 201
    assert _leftovers(mirror) == []


@pytest.mark.parametrize(("fault", "kind", "says"), FAULTS, ids=[f[0] for f in FAULTS])
def test_a_fault_at_the_first_fetch_leaves_no_half_copy(
    server: GitServer, repo: ServedRepo, tmp_path: Path, fault: Fault, kind: type[RemoteError], says: str
) -> None:
    head = commit_files(repo.path, BIG)
    mirror = Mirror(tmp_path / "m.git", repo.url, "main", silence=0.7)
    server.fail(fault)
    start = time.monotonic()
    with pytest.raises(kind, match=says):
        mirror.fetch()
    assert time.monotonic() - start < 10, "a silent remote is given up after its 0.7 s"
    assert mirror.head() is None
    assert not mirror.path.exists()
    assert _leftovers(mirror) == []
    server.heal()
    assert mirror.fetch().head == head


def test_a_remote_that_is_gone(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RemoteUnreachable, match="refused"):
        Mirror(tmp_path / "m.git", f"http://127.0.0.1:{port}/x.git", "main").fetch()
    with pytest.raises(RemoteUnreachable, match="cannot be reached"):
        Mirror(tmp_path / "m.git", "https://no-such-host.invalid/x.git", "main").fetch()


def test_a_dripping_remote_ends_too(
    server: GitServer, repo: ServedRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_files(repo.path, BIG)
    monkeypatch.setattr("automator67.engine.repo.mirror.FETCH_SECONDS", 0.0)
    with pytest.raises(RemoteUnreachable, match="was not done after"):
        Mirror(tmp_path / "m.git", repo.url, "main").fetch()


def test_killed_while_a_pack_arrives(server: GitServer, repo: ServedRepo, tmp_path: Path) -> None:
    """Both the first fetch and a later one, killed with half of the pack on disk."""
    path = tmp_path / "m.git"
    head = None
    for content in (BIG, {name: text + "more: 1\n" for name, text in BIG.items()}):
        new = commit_files(repo.path, dict(content))
        server.fail("stall")
        child = os.fork()
        if child == 0:
            try:
                Mirror(path, repo.url, "main", silence=60).fetch()
            finally:
                os._exit(1)
        assert server.stalled.wait(60)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        server.heal()
        mirror = Mirror(path, repo.url, "main")
        assert mirror.head() == head
        assert mirror.fetch().head == new
        assert _leftovers(mirror) == []
        git("-C", path, "fsck", "--strict")
        head = new


def _walk(prepare: Callable[[], None], work: Callable[[], object], check: Callable[[], None]) -> int:
    """Kill ``work`` at its first step, its second, ..., each time from a fresh start; return how many there were."""
    for step in itertools.count(1):
        prepare()
        killed = killed_at(step, work)
        check()
        if not killed:
            return step - 1
    raise AssertionError


def test_killed_at_every_step_of_the_first_fetch(tmp_path: Path) -> None:
    remote = _remote(tmp_path)
    head = commit_files(remote, {"apps/a.yaml": "1", "nodes/n.yaml": "2"})
    place = tmp_path / "state"

    def check() -> None:
        mirror = Mirror(place / "m.git", str(remote), "main")
        assert mirror.head() in (None, head)
        assert mirror.fetch().head == head
        assert len(Tree(mirror, head).entries()) == 2
        assert _leftovers(mirror) == []

    steps = _walk(
        lambda: shutil.rmtree(place, ignore_errors=True),
        lambda: Mirror(place / "m.git", str(remote), "main").fetch(),
        check,
    )
    assert steps >= 3


def test_killed_at_every_step_of_making_a_damaged_copy_anew(tmp_path: Path) -> None:
    remote = _remote(tmp_path)
    first = commit_files(remote, {"apps/a.yaml": "1"})
    Mirror(tmp_path / "good.git", str(remote), "main").fetch()
    head = commit_files(remote, {"apps/a.yaml": "2"})
    place = tmp_path / "state"

    def prepare() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        shutil.copytree(tmp_path / "good.git", place / "m.git")
        Mirror(place / "m.git", str(remote), "main").distrust()

    def check() -> None:
        mirror = Mirror(place / "m.git", str(remote), "main")
        assert mirror.head() in (None, first, head)
        assert mirror.fetch().head == head
        assert Tree(mirror, head).read(Tree(mirror, head).entries()[0].blob) == b"2"
        assert _leftovers(mirror) == []

    assert _walk(prepare, lambda: Mirror(place / "m.git", str(remote), "main").fetch(), check) >= 4


def test_killed_at_every_step_of_a_repack(tmp_path: Path) -> None:
    remote = _remote(tmp_path)
    mirror = Mirror(tmp_path / "good.git", str(remote), "main")
    ids = []
    for i in range(MAX_PACKS + 2):
        ids.append(commit_files(remote, {f"apps/a{i % 3}.yaml": f"image: x:{i}\n"}))
        mirror.fetch()
    mirror.repository.create_blob(b"a loose one")
    place = tmp_path / "state"

    def prepare() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        shutil.copytree(tmp_path / "good.git", place / "m.git")

    def check() -> None:
        found = Mirror(place / "m.git", str(remote), "main")
        assert [c.id for c in log(found, ids[-1], 99)] == ids[::-1]
        for commit in ids[::11]:
            tree = Tree(found, commit)
            assert all(tree.read(e.blob) for e in tree.entries())
        git("-C", found.path, "fsck", "--strict", "--no-dangling")
        assert found.fetch().head == ids[-1]
        repack_if_needed(found)
        assert _leftovers(found) == []
        assert len(list(found.path.glob("objects/pack/*.idx"))) <= MAX_PACKS

    steps = _walk(prepare, lambda: repack_if_needed(Mirror(place / "m.git", str(remote), "main")), check)
    assert steps >= 2 * MAX_PACKS


def test_two_processes_fetch_one_after_the_other(server: GitServer, repo: ServedRepo, tmp_path: Path) -> None:
    head = commit_files(repo.path, BIG)
    # Processes of their own: a fork of this one, with its threads, may hang.
    code = (
        "import sys; from pathlib import Path; from automator67.engine.repo.mirror import Mirror; "
        "sys.exit(Mirror(Path(sys.argv[1]), sys.argv[2], 'main').fetch().head != sys.argv[3])"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "m.git"), repo.url, head]
    children = [subprocess.Popen(argv) for _ in range(4)]
    assert [child.wait(60) for child in children] == [0] * 4
    packs = [path for _, path, _ in server.requests if path.endswith("git-upload-pack") and "?" not in path]
    assert len(packs) == 1


def _remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    git("init", "-q", "--bare", "-b", "main", path)
    return path


def _leftovers(mirror: Mirror) -> list[str]:
    beside = [p.name for p in mirror.path.parent.glob(f"{mirror.path.name}.new-*")]
    inside = [p.name for p in mirror.path.glob("objects/pack/pack_git2_*")]
    inside += [p.name for p in mirror.path.glob("objects/repack-*")] + [p.name for p in mirror.path.glob("**/*.lock")]
    lonely = [p.name for p in mirror.path.glob("objects/pack/*.pack") if not p.with_suffix(".idx").exists()]
    return beside + inside + lonely
