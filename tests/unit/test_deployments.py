"""Deployments at GitHub: one for each commit and cloud, told on change only, in the way of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from automator67.engine.forges.deployments import Deployments, WithDeployments
from automator67.engine.forges.reporter import PostFailed
from automator67.engine.forges.statuses import Due, Status
from tests.support.github_reviews import Repository
from tests.support.standin import Call, Reached, Refused

OLD, NEW = "a" * 40, "b" * 40


class Statuses:
    """Keeps what is posted."""

    def __init__(self) -> None:
        self.said: list[Due] = []

    def post(self, batch: Sequence[Due]) -> Iterator[tuple[Due, PostFailed | None]]:
        for item in batch:
            self.said.append(item)
            yield item, None

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def hub() -> Iterator[Repository]:
    made = Repository()
    yield made
    assert made.api.broken == []


def reporter(hub: Repository) -> WithDeployments:
    live = Deployments("ana", "cloud", "ghp_writes", lambda: "home", transport=Reached(hub.api))
    return WithDeployments(Statuses(), live)


def due(state: Any, text: str, commit: str = OLD, context: str = "automator67/apply") -> Due:
    return Due(commit, Status(context, state, text))


def test_what_is_live_is_shown_once_for_each_change(hub: Repository) -> None:
    at = reporter(hub)
    for _ in range(2):
        assert all(failure is None for _, failure in at.post([due("pending", "applying")]))
    list(at.post([due("success", "3 applied"), due("success", "all well", context="automator67/health")]))
    # Another process knows nothing of it, and finds it.
    list(reporter(hub).post([due("success", "3 applied"), due("failure", "blog failed", NEW)]))
    list(at.post([due("error", "a newer commit took over", OLD)]))
    assert hub.deployments == [
        (
            OLD,
            "home",
            [("in_progress", "applying"), ("success", "3 applied"), ("inactive", "a newer commit took over")],
        ),
        (NEW, "home", [("failure", "blog failed")]),
    ]


def test_a_commit_that_never_began_has_none(hub: Repository) -> None:
    list(reporter(hub).post([due("error", "a newer commit took over")]))
    assert hub.deployments == []


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_token_that_may_not_is_no_hindrance_and_asked_once(hub: Repository, code: int) -> None:
    def refuse(_: object) -> None:
        raise Refused(code)

    hub.api.fault = refuse
    at = reporter(hub)
    for _ in range(3):
        assert [failure for _, failure in at.post([due("success", "x")])] == [None]
    assert len(hub.api.calls) == 1
    assert len(at._statuses.said) == 3  # type: ignore[attr-defined]


def test_that_one_is_refused_says_nothing_of_others(hub: Repository) -> None:
    def refuse(call: Call) -> None:
        if call.method == "POST" and OLD in str(call.body):
            raise Refused(422, {"message": "No ref found for: " + OLD, "documentation_url": "https://docs.github.com"})

    hub.api.fault = refuse
    at = reporter(hub)
    assert [f for _, f in at.post([due("success", "x"), due("success", "y", NEW)])] == [None, None]
    assert hub.deployments == [(NEW, "home", [("success", "y")])]


def test_what_fails_for_now_is_tried_again_with_its_status_and_others_go_on(hub: Repository) -> None:
    def refuse(_: object) -> None:
        raise Refused(500)

    hub.api.fault = refuse
    at = reporter(hub)
    batch = [due("success", "x"), due("success", "well", context="automator67/health")]
    answers = {item.status.context: failure for item, failure in at.post(batch)}
    assert answers["automator67/health"] is None
    assert "in trouble" in str(answers["automator67/apply"])
    hub.api.fault = lambda _: None
    assert [f for _, f in at.post(batch[:1])] == [None]
    assert hub.deployments == [(OLD, "home", [("success", "x")])]
