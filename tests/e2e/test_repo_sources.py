"""Sources over HTTP and by path: refs of all kinds, credentials for their own host only, the same bytes every time."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from automator67.engine.remote_errors import BranchMissing, RemoteRefused, RemoteUnreachable, UnusableTree
from automator67.engine.repo.address import parse
from automator67.engine.repo.credentials import Credentials
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.propose import propose, read_file
from automator67.engine.repo.sources import Sources
from tests.support.cloud import free_port
from tests.support.githttp import GitServer, commit_files, git

TOKEN = "ghp_sesame/open+wide="
HOME = parse("https://elsewhere.example/cloud.git")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "server") as running:
        yield running


def names(file: Path) -> list[str]:
    with tarfile.open(file) as tar:
        return tar.getnames()


@pytest.mark.parametrize("over", ["http", "path"])
def test_branches_tags_and_commits_are_found(server: GitServer, tmp_path: Path, over: str) -> None:
    repo = server.create("app")
    url = repo.url if over == "http" else str(repo.path)
    first = commit_files(repo.path, {"web/Dockerfile": "FROM a\n", "other": "x"})
    git("-C", repo.path, "tag", "-a", "v1", "-m", "one", "main")
    git("-C", repo.path, "tag", "light", "main")
    second = commit_files(repo.path, {"web/Dockerfile": "FROM b\n"})
    sources = Sources(tmp_path / "copies", HOME)
    assert sources.resolve(url, "main") == second
    assert sources.resolve(url, "v1") == first
    assert sources.resolve(url, "light") == first
    assert sources.resolve(url, second) == second
    third = commit_files(repo.path, {"web/new": "x\n"})
    assert sources.resolve(url, "main") == third
    one, two = tmp_path / "one.tar", tmp_path / "two.tar"
    sources.tar(url, third, "web", one)
    Sources(tmp_path / "again", HOME).resolve(url, "main")
    Sources(tmp_path / "again", HOME).tar(url, third, "web", two)
    assert names(one) == ["Dockerfile", "new"]
    assert one.read_bytes() == two.read_bytes()
    with pytest.raises(BranchMissing, match="it has main"):
        sources.resolve(url, "man")
    with pytest.raises(UnusableTree, match="no folder 'nope'"):
        sources.tar(url, third, "nope", tmp_path / "none.tar")
    assert not list(tmp_path.glob("none.tar*"))


def test_the_token_is_shown_to_the_host_of_the_config_repository_alone(tmp_path: Path) -> None:
    with GitServer(tmp_path / "private", token=TOKEN) as private:
        repo = private.create("app")
        head = commit_files(repo.path, {"a": "1"})
        credentials = Credentials(TOKEN)
        assert Sources(tmp_path / "own", parse(repo.url), credentials).resolve(repo.url, "main") == head
        with pytest.raises(RemoteRefused) as refused:
            Sources(tmp_path / "other", HOME, credentials).resolve(repo.url, "main")
        assert TOKEN not in str(refused.value)


def test_a_remote_that_is_away_says_so(tmp_path: Path) -> None:
    with pytest.raises(RemoteUnreachable, match="cannot be reached"):
        Sources(tmp_path / "copies", HOME).resolve(f"http://127.0.0.1:{free_port()}/app.git", "main")


@pytest.mark.parametrize("over", ["http", "path"])
def test_a_proposal_is_one_commit_on_a_branch_that_was_not_there(server: GitServer, tmp_path: Path, over: str) -> None:
    repo = server.create("cloud")
    head = commit_files(repo.path, {"apps/a.yaml": "image: a:1\n", "b": "x"})
    mirror = Mirror(tmp_path / "m.git", repo.url if over == "http" else str(repo.path), "main")
    mirror.fetch()
    assert read_file(mirror, head, "apps/a.yaml") == b"image: a:1\n"
    changed = {"apps/a.yaml": b"image: a:2\n"}
    assert propose(mirror, head, "update/a-2", changed, "a: newer\n")
    assert git("-C", repo.path, "rev-parse", "update/a-2^") == head
    assert git("-C", repo.path, "show", "update/a-2:apps/a.yaml") == "image: a:2"
    assert git("-C", repo.path, "show", "update/a-2:b") == "x"
    made = git("-C", repo.path, "rev-parse", "update/a-2")
    assert not propose(mirror, head, "update/a-2", {"b": b"y"}, "again\n")
    assert git("-C", repo.path, "rev-parse", "update/a-2") == made
    assert mirror.fetch().head == head
