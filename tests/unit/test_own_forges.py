"""Gitea, Forgejo and GitLab: statuses, pull requests, one comment; each request held to what its forge publishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from automator67.engine.apis.client import ApiError
from automator67.engine.breaker import Breaker
from automator67.engine.forges.api_reporter import ApiReporter
from automator67.engine.forges.choose import pull_requests_of, reporter_for, reviews_for
from automator67.engine.forges.gitea import Gitea
from automator67.engine.forges.gitlab import GitLab
from automator67.engine.forges.notes import NotesReporter
from automator67.engine.forges.outbox import due
from automator67.engine.forges.pull_requests import PullRequestFailed
from automator67.engine.forges.remote import forge_of
from automator67.engine.forges.statuses import Due, Status
from automator67.engine.pull_desk import PullDesk
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.proposals import Proposals
from automator67.engine.store.database import open_store
from tests.support.githttp import GitServer, commit_files, git
from tests.support.own_forges import EVE, US, GiteaRepository, GitLabRepository, Repository
from tests.support.standin import Reached, Refused

SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
MARKER = "<!-- automator67:plan:home -->"


@dataclass
class At:
    """A forge, our driver for it, where git finds a pull request there, and what our repository is called."""

    hub: Any
    driver: Any
    ref: str
    own: str


def gitea(kind: Any) -> At:
    hub = GiteaRepository(kind=kind)
    driver = Gitea("ana", "cloud", "tok", api="https://git.example/api/v1", transport=Reached(hub.api))
    return At(hub, driver, "refs/pull/{}/head", "ana/cloud")


def gitlab() -> At:
    hub = GitLabRepository()
    driver = GitLab("ana/home/cloud", "tok", api="https://git.example/api/v4", transport=Reached(hub.api))
    return At(hub, driver, "refs/merge-requests/{}/head", "ana/home/cloud")


MAKERS: dict[str, Callable[[], At]] = {
    "gitea": lambda: gitea("gitea"), "forgejo": lambda: gitea("forgejo"), "gitlab": gitlab,
}  # fmt: skip


@pytest.fixture(params=MAKERS)
def at(request: pytest.FixtureRequest) -> Iterator[At]:
    made = MAKERS[request.param]()
    yield made
    made.driver.close()
    assert made.hub.api.broken == []


def status(state: str = "success", text: str = "3 applied", context: str = "automator67/apply") -> Due:
    return Due(SHA, Status(context, state, text))  # type: ignore[arg-type]


def test_statuses_arrive(at: At) -> None:
    batch = [status(), status("failure", "1 of 2", "automator67/health"), status("error", "", "automator67/plan"),
             status("pending", "é" * 140, "automator67/storage")]  # fmt: skip
    assert list(ApiReporter(at.driver).post(batch)) == [(item, None) for item in batch]
    said = {context: state for commit, context, state in at.hub.statuses if commit == SHA}
    bad = "failed" if isinstance(at.hub, GitLabRepository) else "failure"
    assert said["automator67/apply"] == "success"
    assert said["automator67/health"] == bad
    assert said["automator67/plan"] == ("failed" if bad == "failed" else "error")
    # What was recorded too late is posted twice.
    assert list(ApiReporter(at.driver).post(batch)) == [(item, None) for item in batch]


@pytest.mark.parametrize(
    ("code", "word", "permanent"),
    [(401, "make a new one", True), (403, "needs", True), (404, "does not have it", False), (500, "in trouble", False)],
)
def test_why_a_status_was_not_taken(at: At, code: int, word: str, permanent: bool) -> None:
    def refuse(_: Any) -> None:
        raise Refused(code)

    at.hub.api.fault = refuse
    ((_, failure),) = ApiReporter(at.driver).post([status()])
    assert failure is not None
    assert word in str(failure)
    assert "tok" not in str(failure).replace("token", "")
    assert failure.permanent == permanent


def test_what_asks_to_wait_is_waited_for(at: At) -> None:
    def refuse(_: Any) -> None:
        raise Refused(429, headers={"Retry-After": "90"})

    at.hub.api.fault = refuse
    ((_, failure),) = ApiReporter(at.driver).post([status()])
    assert failure is not None
    assert not failure.permanent
    assert failure.retry_after == 90
    calls = len(at.hub.api.calls)
    ((_, again),) = ApiReporter(at.driver).post([status()])
    assert again is not None
    assert len(at.hub.api.calls) == calls, "nothing goes out while it is to be left alone"


def test_open_pull_requests_over_several_pages(at: At) -> None:
    at.hub.pulls = {n: (f"{n:040x}", at.own if n % 2 else "eve/cloud") for n in range(1, 6)}
    at.hub.pulls[6] = (f"{6:040x}", "")
    at.hub.pulls[7] = ("no commit", at.own)
    found = at.driver.open_pulls("main")
    assert [(p.number, p.head, p.fork) for p in found] == [(n, f"{n:040x}", n % 2 == 0) for n in range(1, 7)]
    assert found[0].ref == at.ref.format(1)
    at.hub.base = "other"
    assert at.driver.open_pulls("main") == []


def test_one_comment_is_kept_and_that_of_another_left_alone(at: At) -> None:
    at.hub.comments[1] = (7, EVE, f"{MARKER}\nall is well, merge it")
    at.hub.comments[2] = (7, US, "not about plans")
    ours = at.driver.comment(7, MARKER, f"{MARKER}\nfirst", 0)
    assert at.driver.comment(7, MARKER, f"{MARKER}\nsecond", ours) == ours
    # Who has forgotten its id finds it.
    assert at.driver.comment(7, MARKER, f"{MARKER}\nthird", 0) == ours
    assert at.hub.bodies(7) == ["not about plans", f"{MARKER}\nthird"]
    assert at.hub.bodies(7, EVE) == [f"{MARKER}\nall is well, merge it"]
    del at.hub.comments[ours]
    at.driver.comment(7, MARKER, f"{MARKER}\nfourth", ours)
    assert at.hub.bodies(7)[-1] == f"{MARKER}\nfourth"


def test_a_branch_is_proposed_once(at: At) -> None:
    page = at.driver.open("rollback/blog-1", "main", "Roll blog back", "Restores apps/blog.yaml.")
    assert page.startswith("https://")
    assert at.driver.open("rollback/blog-1", "main", "Roll blog back", "Restores apps/blog.yaml.") == ""
    assert len(at.hub.asked) == 1

    def refuse(_: Any) -> None:
        raise Refused(403)

    at.hub.api.fault = refuse
    with pytest.raises(PullRequestFailed, match="needs"):
        at.driver.open("other", "main", "t", "b")


def test_a_plan_below_a_pull_request(at: At, tmp_path: Path) -> None:
    hub: Repository = at.hub
    with GitServer(tmp_path) as server, open_store(tmp_path / "store.db") as store:
        repo = server.create("cloud")
        commit_files(repo.path, {"automator67.yaml": "name: home\n"})
        git("-C", repo.path, "branch", "pr3", "main")
        head = commit_files(repo.path, {"apps/wiki.yaml": "image: ghcr.io/ana/wiki:1\nport: 80\n"}, branch="pr3")
        git("-C", repo.path, "update-ref", at.ref.format(3), head)
        hub.pulls[3] = (head, "eve/cloud")
        mirror = Mirror(tmp_path / "mirror", repo.url, "main", allow_http=True)
        desk = PullDesk(
            store, at.driver, Proposals(tmp_path / "proposals", mirror), "main", "",
            name=lambda: "home", told=lambda: None, clock=time.time,
        )  # fmt: skip
        desk.look()
        (body,) = hub.bodies(3)
        assert body.startswith(MARKER)
        assert "wiki" in body
        with store.read() as tx:
            ((commit, verdict),) = [(d.commit, d.status) for d in due(tx, time.time() + 10)]
        assert (commit, verdict.state) == (head, "success")
        del hub.pulls[3]
        desk.look()
        assert "closed" in hub.bodies(3)[0]


@pytest.mark.parametrize(
    ("url", "api", "kind", "where", "path"),
    [
        ("https://codeberg.org/ana/cloud.git", "", "gitea", "https://codeberg.org/api/v1", "ana/cloud"),
        ("git@gitlab.com:ana/home/cloud.git", "", "gitlab", "https://gitlab.com/api/v4", "ana/home/cloud"),
        ("ssh://git@git.lan:2222/ana/cloud", "https://git.lan/api/v1", "gitea", "https://git.lan/api/v1", "ana/cloud"),
        ("https://x:t@git.lan/a/b/c/d.git/", "https://git.lan/api/v4/", "gitlab", "https://git.lan/api/v4/", "a/b/c/d"),
        ("git@ghe.corp:ana/cloud.git", "https://ghe.corp/api/v3", "github", "https://ghe.corp/api/v3", "ana/cloud"),
        ("https://github.com/ana/my.cloud", "", "github", "https://api.github.com", "ana/my.cloud"),
    ],
)
def test_whose_api_it_is(url: str, api: str, kind: str, where: str, path: str) -> None:
    found = forge_of(url, api)
    assert found is not None
    assert (found.kind, found.api, found.path) == (kind, where, path)


@pytest.mark.parametrize(
    ("url", "api"),
    [("https://git.lan/ana/cloud", ""), ("/srv/cloud.git", ""), ("https://github.com/a/b/c", ""),
     ("file:///srv/git/cloud", "https://git.lan/api/v1"), ("https://codeberg.org/cloud", "")],
)  # fmt: skip
def test_a_remote_without_a_forge(url: str, api: str) -> None:
    assert forge_of(url, api) is None
    assert isinstance(reporter_for(url, "tok", None, Breaker("x"), api=api), NotesReporter)  # type: ignore[arg-type]
    assert reviews_for(url, "tok", Breaker("x"), api=api) is None
    assert pull_requests_of(url, "tok", api=api) is None


def test_the_token_goes_nowhere_unencrypted() -> None:
    url, api = "https://git.lan/ana/cloud", "http://git.lan/api/v1"
    with pytest.raises(ValueError, match="unencrypted"):
        reporter_for(url, "tok", None, Breaker("x"), api=api)  # type: ignore[arg-type]
    with pytest.raises(ApiError, match="unencrypted"):
        reviews_for(url, "tok", Breaker("x"), api=api)
    assert pull_requests_of(url, "tok", api=api) is None
