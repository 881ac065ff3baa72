"""GitHub's commit statuses against a stand-in with state; all that is said is held to the published contract."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial
from random import Random

import httpx
import pytest

from automator67.engine.breaker import Breaker
from automator67.engine.forges.choose import reporter_for
from automator67.engine.forges.github import GitHub
from automator67.engine.forges.notes import NotesReporter
from automator67.engine.forges.outbox import deliver, want
from automator67.engine.forges.reporter import PostFailed
from automator67.engine.forges.statuses import Due, Status
from automator67.engine.store.database import open_store
from tests.support.github import GitHubStandIn, error, invalid
from tests.support.github_contract import Contract, ContractBroken, github_contract  # noqa: F401

SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"


@pytest.fixture
def hub(github_contract: Contract) -> Iterator[GitHubStandIn]:  # noqa: F811
    with GitHubStandIn() as running:
        running.commits.add(SHA)
        yield running


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def github(hub: GitHubStandIn, clock: list[float]) -> Iterator[GitHub]:
    made = GitHub("ana", "cloud", lambda: hub.token, api=hub.url, timeout=2.0, clock=lambda: clock[0])
    yield made
    made.close()


def _due(context: str = "automator67/apply", state: str = "success", text: str = "3 applied") -> Due:
    return Due(SHA, Status(context, state, text))  # type: ignore[arg-type]


def _failure(github: GitHub, item: Due | None = None) -> PostFailed:
    [(_, failure)] = github.post([item or _due()])
    assert failure is not None
    assert "\n" not in str(failure)
    assert "ghp_" not in str(failure)
    return failure


def test_statuses_arrive(hub: GitHubStandIn, github: GitHub, github_contract: Contract) -> None:  # noqa: F811
    batch = [
        _due(), _due("automator67/health", "failure", "blog degraded — 1 of 2"), _due("automator67/plan", "error", ""),
        _due("automator67/app/" + "x" * 239, "pending", "é" * 140),
    ]  # fmt: skip
    assert list(github.post(batch)) == [(item, None) for item in batch]
    shown = hub.shown(SHA)
    assert shown["automator67/apply"] == ("success", "3 applied")
    assert shown["automator67/health"] == ("failure", "blog degraded — 1 of 2")
    assert shown["automator67/plan"] == ("error", "")
    assert len(github_contract.requests) == 4
    assert hub.connections == 1, "one connection serves a batch"
    assert list(github.post([])) == []


def test_a_status_leads_to_a_page_when_there_is_one(hub: GitHubStandIn) -> None:
    github = GitHub(
        "ana", "cloud", lambda: hub.token, api=hub.url, link=lambda d: f"https://cloud.example/c/{d.commit}"
    )
    assert list(github.post([_due()])) == [(_due(), None)]
    assert hub.statuses[SHA, "automator67/apply"] == [("success", "3 applied", f"https://cloud.example/c/{SHA}")]
    github.close()


def test_the_contract_lets_nothing_else_through(hub: GitHubStandIn) -> None:
    """The check in the way of every request does catch what GitHub would not take."""
    good = {"state": "success", "context": "c"}
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    url = f"{hub.url}/repos/ana/cloud/statuses/{SHA}"
    for bad in ({"state": "done"}, {"context": "c"}, {**good, "descripton": "x"}, {**good, "description": 1}):
        with pytest.raises(ContractBroken):
            httpx.post(url, json=bad, headers=headers)
    with pytest.raises(ContractBroken):
        httpx.post(f"{hub.url}/repos/ana/cloud/status/{SHA}", json=good, headers=headers)
    with pytest.raises(ContractBroken):
        httpx.put(url, json=good, headers=headers)
    with pytest.raises(ContractBroken):
        httpx.post(url, json=good)
    assert hub.seen == []


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("ghp_wrong", "does not accept the token"),
        ("ghp_reads", r"give it 'Commit statuses: write' \(classic tokens: repo:status\)"),
        ("", "token is empty"),
        ("ghp_with blank", "characters that no token has"),
        ("ghp_bad\x00", "characters that no token has"),
        ("ghp_ä", "characters that no token has"),
    ],
)
def test_a_token_that_does_not_do(hub: GitHubStandIn, token: str, says: str) -> None:
    github = GitHub("ana", "cloud", lambda: token, api=hub.url)
    failure = _failure(github)
    assert failure.permanent
    with pytest.raises(PostFailed, match=says):
        raise failure
    github.close()


def test_a_token_is_read_anew_and_may_be_missing(hub: GitHubStandIn) -> None:
    tokens = iter(["ghp_old", hub.token + "\n"])
    github = GitHub("ana", "cloud", lambda: next(tokens), api=hub.url)
    assert _failure(github).permanent
    assert list(github.post([_due()])) == [(_due(), None)]

    def gone() -> str:
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(PostFailed, match="cannot be read: No such file"):
        raise _failure(GitHub("ana", "cloud", gone, api=hub.url))
    github.close()


def test_a_repository_or_commit_that_is_not_there(hub: GitHubStandIn, github: GitHub) -> None:
    other = GitHub("ana", "other", lambda: hub.token, api=hub.url)
    failure = _failure(other)
    assert failure.permanent
    assert "knows no repository ana/other" in str(failure)
    failure = _failure(github, Due("f" * 40, Status("c", "success")))
    assert not failure.permanent
    assert "has no commit ffffffffffff (yet)" in str(failure)
    other.close()


def test_a_forge_that_has_had_enough(hub: GitHubStandIn, github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.github.LIMIT", 1)
    assert list(github.post([_due()])) == [(_due(), None)]
    failure = _failure(github)
    assert failure.permanent
    assert "422 Validation Failed: This SHA and context has reached the maximum" in str(failure)


def test_what_github_says_is_one_safe_line(hub: GitHubStandIn, github: GitHub) -> None:
    hub.faults.append(lambda: (403, {}, error(f"no\n\x1b[31m{hub.token} {'x' * 999}")))
    text = str(_failure(github))
    assert "no [31m*** xxx" in text
    assert len(text) < 400


def test_single_sign_on(hub: GitHubStandIn, github: GitHub) -> None:
    hub.faults.append(
        lambda: (403, {"X-GitHub-SSO": "required; url=https://github.com/x"}, error("Resource protected"))
    )
    assert "single sign-on" in str(_failure(github))


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait"),
    [
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1500"}, "API rate limit exceeded", 500.0),
        (429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1500"}, "API rate limit exceeded", 500.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "10"}, "clock skew", 1.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9" * 12}, "nonsense", 3600.0),
        (403, {"Retry-After": "7", "X-RateLimit-Remaining": "4000"}, "You have exceeded a secondary rate limit", 7.0),
        (429, {"Retry-After": "Thu, 01 Jan 1970 00:17:10 GMT"}, "Too many", 30.0),
        (403, {}, "You have exceeded a secondary rate limit.", 60.0),
        (429, {}, "", 60.0),
    ],
)
def test_rate_limits_are_kept(
    hub: GitHubStandIn, github: GitHub, clock: list[float], status: int, headers: dict[str, str], body: str, wait: float
) -> None:
    hub.faults.append(lambda: (status, headers, error(body)))
    batch = [_due("a"), _due("b"), _due("c")]
    outcomes = list(github.post(batch))
    assert [item for item, _ in outcomes] == batch
    failures = [failure for _, failure in outcomes if failure]
    assert [f.retry_after for f in failures] == [wait] * 3
    assert not any(f.permanent for f in failures)
    assert len(hub.seen) == 1, "nobody is asked while we are told to wait"
    clock[0] += wait - 0.5
    assert _failure(github).retry_after == 0.5
    assert len(hub.seen) == 1
    clock[0] += 0.6
    assert list(github.post(batch)) == [(item, None) for item in batch]


def test_trouble_of_the_forge_passes(hub: GitHubStandIn, github: GitHub) -> None:
    for status in (500, 502, 503):
        hub.faults.append(partial(lambda status: (status, {}, b"<html>down</html>"), status))
        failure = _failure(github)
        assert not failure.permanent
        assert f"({status})" in str(failure)
    hub.faults.append(lambda: (418, {}, b"\xff\x00{"))
    assert _failure(github).permanent
    hub.faults.append(lambda: (500, {}, b"x" * 2**20))
    assert not _failure(github).permanent
    assert list(github.post([_due()])) == [(_due(), None)]


def test_a_renamed_repository_on_the_same_host_is_followed(hub: GitHubStandIn) -> None:
    hub.renamed_from = "old"
    github = GitHub("ana", "old", lambda: hub.token, api=hub.url)
    assert list(github.post([_due()])) == [(_due(), None)]
    assert hub.shown(SHA)["automator67/apply"] == ("success", "3 applied")
    github.close()


def test_the_token_goes_to_no_other_host(hub: GitHubStandIn, github: GitHub) -> None:
    with GitHubStandIn() as other:
        for place in (
            other.url,
            other.url.replace("127.0.0.1", "localhost"),
            hub.url.replace("127.0.0.1", "localhost"),
        ):
            target = f"{place}/repos/ana/cloud/statuses/{SHA}"
            hub.faults.append(partial(lambda url: (307, {"Location": url}, error("moved", url=url)), target))
            failure = _failure(github)
            assert failure.permanent
            assert "where the token does not belong" in str(failure)
        assert other.seen == []
        assert len(hub.seen) == 3


def test_going_round_in_circles_ends(hub: GitHubStandIn, github: GitHub) -> None:
    place = f"{hub.url}/repos/ana/cloud/statuses/{SHA}"
    hub.faults += [lambda: (307, {"Location": place}, error("again", url=place))] * 9
    assert "round in circles" in str(_failure(github))
    assert len(hub.seen) == 3
    hub.faults[:] = [lambda: (302, {"Location": "http://[bad"}, b"")]
    assert _failure(github).permanent


def test_a_forge_that_is_away_or_silent(github_contract: Contract) -> None:  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        github = GitHub("ana", "cloud", lambda: "ghp_x", api=url, timeout=0.3)
        assert "did not answer within" in str(_failure(github))
        github.close()
    github = GitHub("ana", "cloud", lambda: "ghp_x", api=url, timeout=2.0)
    failure = _failure(github)
    assert "cannot be reached" in str(failure)
    assert not failure.permanent
    github.close()


def test_the_api_must_be_encrypted() -> None:
    with pytest.raises(ValueError, match=r"unencrypted to ghe\.example"):
        GitHub("ana", "cloud", lambda: "t", api="http://ghe.example/api/v3")


def test_an_enterprise_server_lives_below_a_path(hub: GitHubStandIn, github_contract: Contract) -> None:  # noqa: F811
    github_contract.prefix = "/api/v3"
    github = GitHub("ana", "cloud", lambda: hub.token, api=f"{hub.url}/api/v3")
    list(github.post([_due()]))
    assert hub.seen[0][0] == f"/api/v3/repos/ana/cloud/statuses/{SHA}"
    github.close()


def test_from_the_outbox_to_the_forge(hub: GitHubStandIn, github: GitHub, tmp_path: object, clock: list[float]) -> None:
    """Change only, through failures, until the forge shows what is wanted; nothing is posted twice."""
    store = open_store(f"{tmp_path}/store.db")
    with store.begin() as tx:
        want(
            tx, SHA, [Status("automator67/plan", "success", "1 app"), Status("automator67/apply", "pending")], clock[0]
        )
    hub.faults.append(lambda: (503, {}, error("down")))
    assert len(deliver(store, github, lambda: clock[0], Random(1))) == 1
    with store.begin() as tx:
        want(tx, SHA, [Status("automator67/apply", "success", "1 applied")], clock[0])
    for _ in range(4):
        clock[0] += 10
        deliver(store, github, lambda: clock[0], Random(1))
    assert hub.shown(SHA) == {
        "automator67/plan": ("success", "1 app"),
        "automator67/apply": ("success", "1 applied"),
    }
    assert sum(len(posts) for posts in hub.statuses.values()) <= 3
    hub.faults.append(lambda: (422, {}, invalid("Validation Failed", "no")))
    with store.begin() as tx:
        want(tx, SHA, [Status("automator67/apply", "failure", "2 failed")], clock[0])
    assert "422" in deliver(store, github, lambda: clock[0], Random(1))[0]
    clock[0] += 4000
    assert deliver(store, github, lambda: clock[0], Random(1)) == []
    assert hub.shown(SHA)["automator67/apply"] == ("failure", "2 failed")
    store.close()


class _Notes:
    def edit(self, edits: object) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("url", "token", "api", "kind", "path"),
    [
        ("https://github.com/ana/cloud", "t", "", GitHub, "repos/ana/cloud/statuses/"),
        ("https://ana:t@github.com/ana/cloud.git/", "t", "", GitHub, "repos/ana/cloud/statuses/"),
        ("git@github.com:ana/my.cloud.git", "t", "", GitHub, "repos/ana/my.cloud/statuses/"),
        ("ssh://git@ssh.github.com:443/ana/cloud.git", "t", "", GitHub, "repos/ana/cloud/statuses/"),
        ("https://ghe.example/ana/cloud", "t", "https://ghe.example/api/v3", GitHub, "repos/ana/cloud/statuses/"),
        ("https://github.com/ana/cloud", "", "", NotesReporter, ""),
        ("https://ghe.example/ana/cloud", "t", "", NotesReporter, ""),
        ("https://github.com.evil.example/ana/cloud", "t", "", NotesReporter, ""),
        ("https://evil.example/github.com/ana/cloud", "t", "", NotesReporter, ""),
        ("https://github.com/ana", "t", "", NotesReporter, ""),
        ("https://github.com/ana/cl?oud", "t", "", NotesReporter, ""),
        ("/srv/github.com/ana/cloud", "t", "", NotesReporter, ""),
        ("file:///srv/cloud.git", "t", "", NotesReporter, ""),
    ],
)
def test_which_reporter_suits(url: str, token: str, api: str, kind: type, path: str) -> None:
    chosen = reporter_for(url, token, _Notes(), Breaker("the forge"), api=api)
    assert isinstance(chosen, kind)
    if isinstance(chosen, GitHub):
        assert chosen._path == path
    chosen.close()
