"""Statuses as git notes: over real HTTP and in a repository on this disk, read back with git itself."""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from automator67.engine.forges.notes import NotesReporter, with_lines
from automator67.engine.forges.reporter import PostFailed
from automator67.engine.forges.statuses import Due, State, Status
from automator67.engine.repo import note_ref
from automator67.engine.repo.credentials import Credentials
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.note_ref import NoteRef
from tests.support.githttp import GIT_ENV, GitServer, commit_files, git
from tests.support.kill import killed_at

REF = "refs/notes/automator67"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path) as running:
        yield running


def _due(commit: str, context: str, state: State = "success", text: str = "") -> Due:
    return Due(commit, Status(context, state, text))


def _post(mirror: Mirror, *batch: Due) -> list[PostFailed | None]:
    return [failure for _, failure in NotesReporter(NoteRef(mirror)).post(batch)]


def _note(repo: Path, commit: str) -> str:
    return git("-C", repo, "notes", "--ref=automator67", "show", commit)


def test_a_person_sees_them_in_the_log(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    first, second = commit_files(repo.path, {"a": "1"}), commit_files(repo.path, {"a": "2"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    mirror.fetch()
    batch = [
        _due(first, "automator67/apply", "success", "3 applied"),
        _due(second, "automator67/plan", "success", "1 app"),
        _due(second, "automator67/apply", "pending", "applying"),
    ]
    assert _post(mirror, *batch) == [None, None, None]
    assert len(git("-C", repo.path, "rev-list", REF).split()) == 1, "one commit and one push for a batch"
    clone = tmp_path / "clone"
    git("clone", "-q", repo.url, clone)
    git("fetch", "-q", "origin", f"{REF}:{REF}", cwd=clone)
    log = git("log", "--notes=automator67", cwd=clone)
    assert "Notes (automator67):\n    automator67/plan success  1 app\n    automator67/apply pending  applying\n" in log
    assert "automator67/apply success  3 applied" in log
    assert _post(mirror, _due(second, "automator67/apply", "success", "1 applied")) == [None]
    git("fetch", "-q", "origin", f"{REF}:{REF}", cwd=clone)
    assert _note(clone, second) == "automator67/plan success  1 app\nautomator67/apply success  1 applied"
    assert _note(clone, first) == "automator67/apply success  3 applied"


def test_nothing_new_writes_nothing(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    head = commit_files(repo.path, {"a": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    mirror.fetch()
    _post(mirror, _due(head, "a"))
    before = git("-C", repo.path, "rev-parse", REF)
    server.requests.clear()
    assert _post(mirror, _due(head, "a")) == [None]
    assert list(NotesReporter(NoteRef(mirror)).post([])) == []
    assert git("-C", repo.path, "rev-parse", REF) == before
    assert [method for method, _, _ in server.requests] == ["GET"]


def test_notes_of_others_stay(server: GitServer, tmp_path: Path) -> None:
    """Another tool's notes on the same and on other commits, in git's own layout and in folders, and a stray file."""
    repo = server.create("cloud")
    commits = [commit_files(repo.path, {"a": str(i)}) for i in range(4)]
    for commit in commits[:2]:
        git("-C", repo.path, "notes", "--ref=automator67", "add", "-m", "checked by a person", commit)
    deep = commits[2]
    blob = git("-C", repo.path, "hash-object", "-w", "--stdin", data=b"deep\n")
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    _git(repo.path, index, "read-tree", REF)
    for path in (f"{deep[:2]}/{deep[2:4]}/{deep[4:]}", "README"):
        _git(repo.path, index, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    tree = _git(repo.path, index, "write-tree")
    git("-C", repo.path, "update-ref", REF, git("-C", repo.path, "commit-tree", "-m", "x", "-p", REF, tree))
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    mirror.fetch()
    assert _post(mirror, *(_due(c, "automator67/apply", text="ok") for c in commits)) == [None] * 4
    ours = "automator67/apply success  ok"
    assert _note(repo.path, commits[0]) == f"checked by a person\n{ours}"
    assert _note(repo.path, commits[1]) == f"checked by a person\n{ours}"
    assert _note(repo.path, deep) == f"deep\n{ours}"
    assert _note(repo.path, commits[3]) == ours
    assert git("-C", repo.path, "show", f"{REF}:README") == "deep"
    git("-C", repo.path, "fsck", "--strict")


def _git(repo: Path, env: dict[str, str], *args: str) -> str:
    done = subprocess.run(["git", "-C", repo, *args], env={**GIT_ENV, **env}, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.mark.parametrize("moment", ["refs", "pack"])
def test_whoever_is_faster_nobody_loses(server: GitServer, tmp_path: Path, moment: str) -> None:
    repo = server.create("cloud")
    head = commit_files(repo.path, {"a": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    mirror.fetch()
    _post(mirror, _due(head, "mine", text="before"))
    rivals = iter(range(3))

    def rival(stage: str) -> None:
        number = next(rivals, None) if stage == moment else None
        if number is not None:
            git("-C", repo.path, "notes", "--ref=automator67", "append", "-m", f"rival {number}", head)

    server.before_push = rival
    assert _post(mirror, _due(head, "mine", text="after")) == [None]
    note = _note(repo.path, head).split("\n")
    assert note[0] == "mine success  after"
    assert [line for line in note if line] == ["mine success  after", "rival 0", "rival 1", "rival 2"]
    assert next(rivals, None) is None
    server.before_push = lambda _: git("-C", repo.path, "notes", "--ref=automator67", "append", "-m", "again", head)
    [failure] = _post(mirror, _due(head, "mine", text="never"))
    assert failure is not None
    assert "others keep changing" in str(failure)
    assert not failure.permanent
    server.before_push = None
    assert _post(mirror, _due(head, "mine", text="at last")) == [None]
    assert _note(repo.path, head).startswith("mine success  at last")


def test_a_remote_that_does_not_take_notes(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    head = commit_files(repo.path, {"a": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main", Credentials("sesame"), silence=0.7)
    mirror.fetch()
    hook = repo.path / "hooks" / "update"
    hook.write_text("#!/bin/sh\necho no notes here >&2\nexit 1\n")
    hook.chmod(0o755)
    [failure] = _post(mirror, _due(head, "a"))
    assert failure is not None
    assert failure.permanent
    assert "does not take refs/notes/automator67: hook declined" in str(failure)
    hook.unlink()
    git("-C", repo.path, "config", "http.receivepack", "false")
    [failure] = _post(mirror, _due(head, "a"))
    assert failure is not None
    assert failure.permanent
    assert "answers 403" in str(failure)
    git("-C", repo.path, "config", "http.receivepack", "true")
    for fault, permanent in (("500", False), ("hang", False), ("refuse", True)):
        server.fail(fault)  # type: ignore[arg-type]
        failures = _post(mirror, _due(head, "a"), _due(head, "b"))
        assert [f is not None and f.permanent for f in failures] == [permanent, permanent]
        server.heal()
    assert _post(mirror, _due(head, "a"), _due(head, "b")) == [None, None]
    assert _note(repo.path, head) == "a success\nb success"


def test_a_slow_push_holds_up_no_fetch(server: GitServer, tmp_path: Path) -> None:
    """Notes go out in another thread than the mirror's, and hang there."""
    repo = server.create("cloud")
    head = commit_files(repo.path, {"a": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    mirror.fetch()
    pushing, fetched = threading.Event(), threading.Event()

    def wait(stage: str) -> None:
        pushing.set()
        assert fetched.wait(60)

    server.before_push = wait
    results: list[PostFailed | None] = []
    thread = threading.Thread(target=lambda: results.extend(_post(mirror, _due(head, "a"))))
    thread.start()
    assert pushing.wait(60)
    second = commit_files(repo.path, {"a": "2"})
    assert mirror.fetch().head == second
    assert not results
    fetched.set()
    thread.join(60)
    assert results == [None]


def test_a_damaged_notes_repository_is_made_anew(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    head = commit_files(repo.path, {"a": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    mirror.fetch()
    _post(mirror, _due(head, "a"))
    (tmp_path / "m.git.notes" / "HEAD").write_text("nonsense")
    (tmp_path / "m.git.notes" / "config").write_text("[core\n")
    assert _post(mirror, _due(head, "a", "failure")) == [None]
    assert _note(repo.path, head) == "a failure"


def test_notes_do_not_follow_to_another_host(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    head = commit_files(repo.path, {"a": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main", Credentials("sesame"))
    mirror.fetch()
    with GitServer(tmp_path / "other") as other:
        other.create("cloud")
        server.redirect_to(other.url.replace("127.0.0.1", "localhost"))
        [failure] = _post(mirror, _due(head, "a"))
        assert failure is not None
        assert failure.permanent
        assert other.requests == []


def test_a_deleted_notes_ref_starts_anew(server: GitServer, tmp_path: Path) -> None:
    repo = server.create("cloud")
    head = commit_files(repo.path, {"a": "1"})
    mirror = Mirror(tmp_path / "m.git", repo.url, "main")
    mirror.fetch()
    _post(mirror, _due(head, "a"))
    git("-C", repo.path, "update-ref", "-d", REF)
    assert _post(mirror, _due(head, "b")) == [None]
    assert _note(repo.path, head) == "b success"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    git("init", "-q", "-b", "main", path)
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=path)
    return path


def test_a_repository_with_a_work_tree_shows_them_at_once(work: Path, tmp_path: Path) -> None:
    head = git("rev-parse", "HEAD", cwd=work)
    mirror = Mirror(tmp_path / "m.git", str(work), "main")
    mirror.fetch()
    assert _post(mirror, _due(head, "automator67/apply", "pending", "applying")) == [None]
    git("notes", "--ref=automator67", "append", "-m", "by hand", head, cwd=work)
    assert _post(mirror, _due(head, "automator67/apply", "success", "done")) == [None]
    log = git("log", "--notes=automator67", cwd=work)
    assert "automator67/apply success  done" in log
    assert "by hand" in log
    assert git("status", "--porcelain", cwd=work) == ""
    git("fsck", "--strict", cwd=work)


def test_in_place_nobody_loses_either(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git("rev-parse", "HEAD", cwd=work)
    mirror = Mirror(tmp_path / "m.git", str(work), "main")
    mirror.fetch()
    build, rivals = note_ref._commit_edits, iter(range(2))

    def slow(*args: Any) -> Any:
        built = build(*args)
        if (number := next(rivals, None)) is not None:
            git("notes", "--ref=automator67", "append", "-m", f"rival {number}", head, cwd=work)
        return built

    monkeypatch.setattr(note_ref, "_commit_edits", slow)
    assert _post(mirror, _due(head, "a")) == [None]
    assert [line for line in _note(work, head).split("\n") if line] == ["rival 0", "rival 1", "a success"]


def test_a_lock_left_by_a_killed_writer(work: Path, tmp_path: Path) -> None:
    head = git("rev-parse", "HEAD", cwd=work)
    mirror = Mirror(tmp_path / "m.git", str(work), "main")
    mirror.fetch()
    lock = work / ".git" / f"{REF}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    [failure] = _post(mirror, _due(head, "a"))
    assert failure is not None
    assert not failure.permanent
    os.utime(lock, (time.time() - 61, time.time() - 61))
    assert _post(mirror, _due(head, "a")) == [None]


def test_killed_at_every_step_nothing_breaks(work: Path, tmp_path: Path) -> None:
    head = git("rev-parse", "HEAD", cwd=work)
    mirror = Mirror(tmp_path / "m.git", str(work), "main")
    mirror.fetch()

    def fresh(text: str) -> Callable[[], Sequence[PostFailed | None]]:
        return lambda: _post(Mirror(tmp_path / "m.git", str(work), "main"), _due(head, "a", text=text))

    for step in itertools.count(1):
        killed = killed_at(step, fresh(f"try {step}"))
        assert fresh(f"then {step}")() == [None]
        assert _note(work, head) == f"a success  then {step}"
        if not killed:
            break
    git("fsck", "--strict", cwd=work)


def test_many_notes_stay_cheap(work: Path, tmp_path: Path) -> None:
    """A note in a tree of a thousand rewrites one small folder, not all of it."""
    mirror = Mirror(tmp_path / "m.git", str(work), "main")
    mirror.fetch()
    commits = [f"{i * 2654435761 % 2**160:040x}"[::-1] for i in range(1, 1001)]
    assert _post(mirror, *(_due(c, "a", text="1") for c in commits)) == [None] * 1000
    before = git("rev-parse", REF, cwd=work)
    assert _post(mirror, _due(commits[7], "a", text="2")) == [None]
    new = git("rev-list", "--objects", REF, f"^{before}", cwd=work).splitlines()
    sizes = [int(git("cat-file", "-s", line.split()[0], cwd=work)) for line in new]
    assert len(sizes) == 4
    assert max(sizes) < 9_000


def test_lines_are_changed_in_place() -> None:
    note = "by hand\na pending  1 of 2\nab failure\na thing\n"
    changed = with_lines([Status("a", "success", "2 of 2"), Status("c", "error"), Status("ab", "success")], note)
    assert changed == "by hand\na success  2 of 2\nab success\na thing\nc error\n"
    assert with_lines([Status("a", "success", "2 of 2")], changed) == changed
    assert with_lines([Status("a.c", "success")], "abc success\n") == "abc success\na.c success\n"
