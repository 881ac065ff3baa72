"""Going back: which revision, which branch, which pull request. Real repositories, over HTTP too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from automator67.engine.apps.revisions import to_spec
from automator67.engine.convert import app_of
from automator67.engine.desired import App, Desired, Origin, SecretUse
from automator67.engine.forges.pull_requests import GitHubPullRequests, PullRequestFailed
from automator67.engine.repo.credentials import Credentials
from automator67.engine.repo.mirror import Mirror
from automator67.engine.rollback import RollbackError, Rollbacks, chosen
from automator67.engine.store import intents
from automator67.engine.store.database import Store, open_store
from automator67.engine.store.revisions import Kept
from tests.support.githttp import GitServer, commit_files, git
from tests.support.github import GitHubStandIn
from tests.support.github_contract import Contract, github_contract  # noqa: F401

OLD, NEW = "image: a:1 # good\nreplicas: 2\n", "image: a:2\nreplicas: 2\n"


def kept(rev: str, healthy_at: float = 1.0, held: str = "") -> Kept:
    return Kept(rev, "c" * 40, "apps/web.yaml", "b", (), 0.0, healthy_at, healthy_at, held)


def test_the_last_healthy_revision_before_the_present_is_chosen() -> None:
    listed = [kept("aaaa1111", 5.0), kept("bbbb2222", 4.0), kept("cccc3333", 0.0), kept("dddd4444", 3.0)]
    assert chosen("web", listed, "aaaa1111", "").rev == "bbbb2222"
    assert chosen("web", listed, "cccc3333", "").rev == "aaaa1111", "the present one is not healthy"
    assert chosen("web", listed, "aaaa1111", "dddd").rev == "dddd4444"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("aaaa", "revision aaaa1111 is what the present commit asks for"),
        ("bb", "says not enough"),
        ("bbbb2223", "did you mean bbbb2222?"),
        ("zzzz", "automator67 revisions web lists them"),
    ],
)
def test_what_cannot_be_gone_back_to_is_said(asked: str, says: str) -> None:
    with pytest.raises(RollbackError, match=says.replace("?", r"\?")):
        chosen("web", [kept("aaaa1111"), kept("bbbb2222")], "aaaa1111", asked)


def test_without_an_earlier_healthy_revision_there_is_nothing_to_choose() -> None:
    with pytest.raises(RollbackError, match="no earlier healthy revision"):
        chosen("web", [kept("aaaa1111"), kept("bbbb2222", 0.0)], "aaaa1111", "")


@pytest.fixture
def hub(github_contract: Contract) -> Iterator[GitHubStandIn]:  # noqa: F811
    with GitHubStandIn() as running:
        yield running


def parsed(image: str, blob: str) -> App:
    return app_of("web", {"image": image, "replicas": 2}, Origin("apps/web.yaml", blob))


def recorded(folder: Path, bare: Path, subdir: str = "") -> tuple[Store, Desired, App]:
    """Return a store that knows two revisions of an app, and what the newer commit asks for."""
    path = f"{subdir}apps/web.yaml"
    first = commit_files(bare, {path: OLD, "README": "hello\n"})
    second = commit_files(bare, {path: NEW, "README": "hello again\n"})
    blobs = [git("-C", bare, "rev-parse", f"{c}:{path}") for c in (first, second)]
    old = replace(parsed("a:1", blobs[0]), secrets=(SecretUse("db", "secrets/db.sealed", "s1"),))
    new = replace(parsed("a:2", blobs[1]), secrets=(SecretUse("db", "secrets/db.sealed", "s2"),))
    store = open_store(folder / "store.db")
    with store.begin() as tx:
        intents.ask_revision(tx, "web", old.rev, first, to_spec(old), 10.0)
        intents.mark_healthy(tx, "web", old.rev, 11.0)
        intents.ask_revision(tx, "web", new.rev, second, to_spec(new), 20.0)
    return store, Desired(second, apps={"web": new}), old


def mirrored(folder: Path, url: str, credentials: Credentials | None = None) -> Mirror:
    mirror = Mirror(folder / "mirror", url, "main", credentials, allow_http=True)
    mirror.fetch()
    return mirror


@pytest.mark.parametrize("over", ["file", "http"])
def test_the_branch_restores_the_file_and_nothing_else(tmp_path: Path, over: str) -> None:
    with GitServer(tmp_path / "git", token="secret-token") as server:
        served = server.create("cloud")
        store, desired, old = recorded(tmp_path, served.path, "home/")
        credentials = Credentials("secret-token", "x-access-token", None) if over == "http" else None
        mirror = mirrored(tmp_path, served.url if over == "http" else str(served.path), credentials)
        rollbacks = Rollbacks(store, mirror, "home")
        shown = rollbacks.make(desired, "web", "", dry_run=True)
        branch = f"rollback/web-{old.rev}"
        assert shown["branch"] == branch
        assert shown["diff"].splitlines()[3:] == ["-image: a:2", "+image: a:1 # good", " replicas: 2"]
        assert git("-C", served.path, "branch", "--list", "rollback/*") == "", "a dry run makes nothing"
        done = rollbacks.make(desired, "web", old.rev[:6], dry_run=False)
        assert (done["made"], done["page"], done["into"]) == (True, "", "main")
        assert done["notes"] == ["secrets/db.sealed has another value since; it is left as it is"]
        assert git("-C", served.path, "diff", "--name-only", f"main..{branch}") == "home/apps/web.yaml"
        assert git("-C", served.path, "show", f"{branch}:home/apps/web.yaml") == OLD.strip()
        assert git("-C", served.path, "log", "-1", "--format=%s", branch) == f"Roll web back to revision {old.rev}"
        assert git("-C", served.path, "rev-parse", f"{branch}^") == desired.commit
        assert rollbacks.make(desired, "web", "", dry_run=False)["made"] is False, "once"
        store.close()


def test_a_pull_request_is_opened_where_there_are_some(tmp_path: Path, hub: GitHubStandIn) -> None:
    bare = tmp_path / "cloud.git"
    git("init", "-q", "--bare", "-b", "main", bare)
    store, desired, old = recorded(tmp_path, bare)
    requests = GitHubPullRequests("ana", "cloud", hub.token, api=hub.url)
    rollbacks = Rollbacks(store, mirrored(tmp_path, str(bare)), "", requests)
    assert rollbacks.make(desired, "web", "", dry_run=True)["page"] == ""
    assert hub.pulls == []
    done = rollbacks.make(desired, "web", "", dry_run=False)
    assert done["page"] == "https://github.com/ana/cloud/pull/1"
    assert [(p["head"], p["base"]) for p in hub.pulls] == [(f"rollback/web-{old.rev}", "main")]
    assert rollbacks.make(desired, "web", "", dry_run=False)["page"] == "", "asked before"
    refused = Rollbacks(store, rollbacks.mirror, "", GitHubPullRequests("ana", "cloud", hub.readonly, api=hub.url))
    assert "may the token write pull requests?" in refused.make(desired, "web", "", dry_run=False)["notes"][-1]
    with pytest.raises(PullRequestFailed, match="answers 404"):
        GitHubPullRequests("ana", "other", hub.token, api=hub.url).open("b", "main", "t", "x")
    store.close()


def test_a_history_that_was_rewritten_cannot_be_gone_back_to(tmp_path: Path) -> None:
    bare = tmp_path / "cloud.git"
    git("init", "-q", "--bare", "-b", "main", bare)
    store, desired, old = recorded(tmp_path, bare)
    with store.begin() as tx:
        intents.ask_revision(tx, "web", old.rev, "f" * 40, to_spec(old), 5.0)
    with pytest.raises(RollbackError, match="not in the history any more"):
        Rollbacks(store, mirrored(tmp_path, str(bare))).make(desired, "web", old.rev, dry_run=True)
    with pytest.raises(RollbackError, match="did you mean web"):
        Rollbacks(store, mirrored(tmp_path, str(bare))).make(desired, "wbe", "", dry_run=True)
    store.close()
