"""Which deliveries ask for a look: pushes to the configured branch of the configured repository, and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from automator67.webhooks.interest import Ignored, Interest, interest, repository_name
from tests.support import deliveries

HELLO = "Codertocat/Hello-World"


def github(payload: dict[str, Any], event: str = "push", branch: str = "main") -> Interest | Ignored:
    return interest("github", event, payload, "ana/cloud", branch)


def push(**more: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(deliveries.push(**more))
    return body


def test_a_push_to_the_branch_asks_for_a_look_at_what_is_configured() -> None:
    assert github(push()) == Interest("ana/cloud", "refs/heads/main", "push")
    assert github(push(repository="Ana/Cloud")) == Interest("ana/cloud", "refs/heads/main", "push")


def test_force_pushes_and_deletions_ask_for_a_look_too() -> None:
    assert github(push(forced=True)) == Interest("ana/cloud", "refs/heads/main", "push")
    gone = Interest("ana/cloud", "refs/heads/main", "delete")
    assert github(push(deleted=True)) == gone
    assert github(push(after="0" * 40)) == gone
    assert github(push(after="0" * 64)) == gone
    deletion = {"ref": "main", "ref_type": "branch", "repository": {"full_name": "ana/cloud"}}
    assert github(deletion, "delete") == gone
    assert interest("gitea", "delete", deletion, "ana/cloud", "main") == gone


@pytest.mark.parametrize(
    ("payload", "event", "reason"),
    [
        (push(repository="eve/cloud"), "push", "another repository; this cloud is kept in ana/cloud"),
        (push(repository="ana/cloud2"), "push", "another repository; this cloud is kept in ana/cloud"),
        (push(ref="refs/heads/dev"), "push", "another branch; this cloud is kept on main"),
        (push(ref="refs/heads/Main"), "push", "another branch; this cloud is kept on main"),
        (push(ref="refs/heads/main/x"), "push", "another branch; this cloud is kept on main"),
        (push(ref="refs/tags/main"), "push", "not a branch"),
        (push(ref="main"), "push", "not a branch"),
        ({"ref": "main", "ref_type": "tag", "repository": {"full_name": "ana/cloud"}}, "create", "not a branch"),
        (push(), "issues", "not a push"),
        ({}, "ping", "the ping has arrived; the webhook works"),
        ({}, "push", "the payload names no repository or no ref"),
        ({"ref": 7, "repository": "ana/cloud"}, "push", "the payload names no repository or no ref"),
        ({"ref": ["refs/heads/main"], "repository": {"full_name": ["a"]}}, "push",
         "the payload names no repository or no ref"),
    ],
)  # fmt: skip
def test_everything_else_is_ignored_with_the_reason(payload: dict[str, Any], event: str, reason: str) -> None:
    assert github(payload, event) == Ignored(reason)


def test_a_tag_with_the_name_of_the_branch_is_not_the_branch() -> None:
    tag = push(ref="refs/tags/main")
    for forge in ("github", "gitea", "forgejo", "generic"):
        payload = tag | {"repository": "ana/cloud"} if forge == "generic" else tag
        assert interest(forge, "push", payload, "ana/cloud", "main") == Ignored("not a branch")


def test_githubs_published_pushes() -> None:
    kinds = []
    for payload in deliveries.github_examples("push"):
        found = interest("github", "push", payload, HELLO, "master")
        assert isinstance(found, Interest) is (payload["ref"] == "refs/heads/master")
        assert isinstance(interest("github", "push", payload, HELLO, "simple-tag"), Ignored)
        kinds.append(type(found))
    assert Interest in kinds
    assert Ignored in kinds


@pytest.mark.parametrize("event", ["ping", "issue_comment", "status", "release", "meta", "package"])
def test_githubs_other_published_events_are_ignored(event: str) -> None:
    for payload in deliveries.github_examples(event):
        assert isinstance(interest("github", event, payload, HELLO, "master"), Ignored)


@pytest.mark.parametrize(
    ("forge", "event", "fixture", "repository", "branch"),
    [
        ("gitea", "push", "gitea-push", "gitea/webhooks", "develop"),
        ("forgejo", "push", "forgejo-push", "forgejo/webhooks", "develop"),
        ("gitlab", "Push Hook", "gitlab-push", "mike/diaspora", "master"),
        ("gitlab", "System Hook", "gitlab-push", "git@example.com:mike/diaspora.git", "master"),
    ],
)
def test_the_published_pushes_of_the_other_forges(
    forge: str, event: str, fixture: str, repository: str, branch: str
) -> None:
    payload = json.loads(deliveries.example(fixture))
    assert interest(forge, event, payload, repository, branch) == Interest(repository, f"refs/heads/{branch}", "push")
    assert isinstance(interest(forge, event, payload, repository, "other"), Ignored)
    assert isinstance(interest(forge, event, payload, "someone/else", branch), Ignored)


def test_gitlabs_tags_and_deletions() -> None:
    tag = json.loads(deliveries.example("gitlab-tag-push"))
    assert interest("gitlab", "Tag Push Hook", tag, "jsmith/example", "v1.0.0") == Ignored("not a push")
    assert interest("gitlab", "System Hook", tag, "jsmith/example", "v1.0.0") == Ignored("not a push")
    gone = json.loads(deliveries.example("gitlab-push")) | {"after": "0" * 40, "checkout_sha": None}
    assert interest("gitlab", "Push Hook", gone, "mike/diaspora", "master") == Interest(
        "mike/diaspora", "refs/heads/master", "delete"
    )


def test_ones_own_script_may_leave_everything_out() -> None:
    look = Interest("/srv/cloud.git", "refs/heads/main", "push")
    assert interest("generic", "push", {}, "/srv/cloud.git", "main") == look
    assert interest("generic", "push", {"ref": "refs/heads/main"}, "/srv/cloud.git", "main") == look
    assert isinstance(interest("generic", "push", {"ref": "refs/heads/x"}, "/srv/cloud.git", "main"), Ignored)
    assert isinstance(interest("generic", "ping", {}, "/srv/cloud.git", "main"), Ignored)


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("ana/cloud", "ana/cloud"),
        ("https://github.com/ana/cloud.git", "ana/cloud"),
        ("https://token@github.com/ana/cloud/", "ana/cloud"),
        ("https://git.example.org:3000/group/sub/cloud.git", "group/sub/cloud"),
        ("git@github.com:ana/cloud.git", "ana/cloud"),
        ("ssh://git@git.example.org:2222/ana/cloud.git", "ana/cloud"),
        ("/srv/git/cloud.git", "srv/git/cloud"),
        ("file:///srv/git/cloud.git", "srv/git/cloud"),
    ],
)
def test_the_name_of_a_remote(remote: str, name: str) -> None:
    assert repository_name(remote) == name


def _pull(action: str, into: str = "main", name: str = "ana/cloud") -> dict[str, Any]:
    return {"action": action, "pull_request": {"base": {"ref": into}}, "repository": {"full_name": name}}


@pytest.mark.parametrize("action", ["opened", "synchronize", "synchronized", "reopened", "closed", "edited"])
def test_pull_requests_for_the_branch_ask_for_a_look(action: str) -> None:
    assert github(_pull(action), "pull_request") == Interest("ana/cloud", "refs/heads/main", "pull")


def test_githubs_published_pull_request_events_ask_for_a_look_where_a_plan_depends_on_them() -> None:
    asked = {"opened", "synchronize", "reopened", "closed", "edited"}
    seen = set()
    for payload in deliveries.github_examples("pull_request"):
        found = interest("github", "pull_request", payload, HELLO, "master")
        assert isinstance(found, Interest) == (payload["action"] in asked)
        seen.add(payload["action"])
    assert seen & asked
    assert seen - asked


def test_other_pull_requests_ask_for_nothing() -> None:
    assert isinstance(github(_pull("labeled"), "pull_request"), Ignored)
    assert isinstance(github(_pull("opened", into="dev"), "pull_request"), Ignored)
    assert isinstance(github(_pull("opened", name="eve/cloud"), "pull_request"), Ignored)
    assert isinstance(github({"action": "opened"}, "pull_request"), Ignored)


def _merge(action: str, into: str = "main", name: str = "ana/home/cloud") -> dict[str, Any]:
    asked = {"iid": 3, "action": action, "target_branch": into}
    return {"object_kind": "merge_request", "project": {"path_with_namespace": name}, "object_attributes": asked}


@pytest.mark.parametrize("event", ["Merge Request Hook", "System Hook"])
@pytest.mark.parametrize("action", ["open", "update", "reopen", "close", "merge"])
def test_gitlabs_merge_requests_for_the_branch_ask_for_a_look(event: str, action: str) -> None:
    found = interest("gitlab", event, _merge(action), "https://gitlab.com/ana/home/cloud.git", "main")
    assert found == Interest("https://gitlab.com/ana/home/cloud.git", "refs/heads/main", "pull")


@pytest.mark.parametrize(
    "payload",
    [_merge("approved"), _merge("open", into="dev"), _merge("open", name="eve/cloud"), {"object_kind": "merge_request"},
     {"object_kind": "merge_request", "object_attributes": {"action": ["open"], "target_branch": 7}}],
)  # fmt: skip
def test_gitlabs_other_merge_requests_ask_for_nothing(payload: dict[str, Any]) -> None:
    assert isinstance(interest("gitlab", "Merge Request Hook", payload, "ana/home/cloud", "main"), Ignored)
