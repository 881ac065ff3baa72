"""Stand-ins for one repository at Gitea, Forgejo and GitLab: pull requests, comments, statuses.

Those of Gitea and Forgejo are held to their published descriptions. GitLab publishes none that could be used here: its
stand-in is strict by itself, after its documentation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.contracts import contract
from tests.support.openapi import Described
from tests.support.standin import Answer, Call, Refused, StandIn

US, EVE = 4242, 666
WHEN = "2026-01-31T12:00:00Z"
_FILES = {"gitea": "gitea/openapi-1.20.json", "forgejo": "forgejo/openapi3-converted.json"}


@dataclass
class Repository:
    """``pulls``: by number the head commit, the repository it is in and the branch it is for. ``comments``: by id
    (number, author, body). ``page``: how many things a server gives at most."""

    pulls: dict[int, tuple[str, str]] = field(default_factory=dict)
    comments: dict[int, tuple[int, int, str]] = field(default_factory=dict)
    statuses: list[tuple[str, str, str]] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    """What pull requests were opened with."""
    base: str = "main"
    api: StandIn = field(init=False)

    def bodies(self, number: int, author: int = US) -> list[str]:
        """What an author has written below a pull request."""
        return [body for at, by, body in self.comments.values() if (at, by) == (number, author)]

    def kept(self, name: int, number: int, body: str) -> int:
        """Keep a comment of ours; return its id."""
        self.comments[name] = (number, US, body)
        return name

    def below(self, number: int) -> list[int]:
        """The ids of the comments below a pull request."""
        return [name for name, (at, _, _) in sorted(self.comments.items()) if at == number]


@dataclass
class GiteaRepository(Repository):
    """``ana/cloud`` at Gitea or Forgejo."""

    kind: Literal["gitea", "forgejo"] = "forgejo"
    page: int = 2

    def __post_init__(self) -> None:
        self.api = StandIn(
            Described(contract(_FILES[self.kind]), "/api/v1"), self._answer, token="tok", scheme="token "
        )

    def _answer(self, call: Call) -> Answer:
        path = call.path.removeprefix("/api/v1")
        inside = path.removeprefix("/repos/ana/cloud")
        if path == "/user":
            return 200, _user(US)
        if inside == path:
            raise Refused(404)
        if inside == "/pulls" and call.method == "POST":
            if any(a["head"] == call.body["head"] for a in self.asked):
                raise Refused(409)
            self.asked.append(call.body)
            return 201, {"number": 1, "html_url": "https://codeberg.org/ana/cloud/pulls/1"}
        if inside == "/pulls":
            assert call.asked("state") == "open"
            first = (int(call.asked("page", "1")) - 1) * self.page
            items = [self._pull(*item) for item in sorted(self.pulls.items())]
            return 200, items[first : first + min(self.page, int(call.asked("limit")))]
        if found := re.fullmatch(r"/statuses/([0-9a-f]{40})", inside):
            body = call.body
            assert body["state"] in ("pending", "success", "error", "failure")
            self.statuses.append((found[1], body["context"], body["state"]))
            return 201, {"id": 1, "context": body["context"], "status": body["state"], "created_at": WHEN}
        if found := re.fullmatch(r"/issues/([0-9]+)/comments", inside):
            number = int(found[1])
            if call.method == "POST":
                return 201, self._comment(self.kept(max(self.comments, default=0) + 1, number, call.body["body"]))
            return 200, [self._comment(name) for name in self.below(number)]
        if found := re.fullmatch(r"/issues/comments/([0-9]+)", inside):
            number, author, _ = self.comments.get(int(found[1]), (0, 0, ""))
            if author != US:
                raise Refused(403 if author else 404)
            return 200, self._comment(self.kept(int(found[1]), number, call.body["body"]))
        raise Refused(404)

    def _pull(self, number: int, what: tuple[str, str]) -> Any:
        # The repository of a deleted fork is null, which the descriptions do not know of.
        head = {"ref": "topic", "sha": what[0]} | ({"repo": {"full_name": what[1]}} if what[1] else {})
        return {"number": number, "head": head, "base": {"ref": self.base}, "state": "open"}

    def _comment(self, name: int) -> Any:
        _, author, body = self.comments[name]
        return {"id": name, "body": body, "user": _user(author), "created_at": WHEN}


@dataclass
class GitLabRepository(Repository):
    """The project ``ana/home/cloud`` at GitLab. A state that is shown already is refused, as servers did for long."""

    def __post_init__(self) -> None:
        self.api = StandIn(None, self._answer, token="tok", lets_in="private-token", scheme="")
        self.shown: dict[tuple[str, str], str] = {}

    def _answer(self, call: Call) -> Answer:
        path = call.path.removeprefix("/api/v4")
        assert path != call.path
        inside = path.removeprefix("/projects/ana%2Fhome%2Fcloud")
        if path == "/user":
            return 200, {"id": US, "username": "ana"}
        if inside == path:
            raise Refused(404)
        if inside == "/merge_requests" and call.method == "POST":
            assert set(call.body) == {"source_branch", "target_branch", "title", "description"}
            if any(a["source_branch"] == call.body["source_branch"] for a in self.asked):
                raise Refused(
                    409, {"message": ["Another open merge request already exists for this source branch: !1"]}
                )
            self.asked.append(call.body)
            return 201, {"iid": 1, "web_url": "https://gitlab.com/ana/home/cloud/-/merge_requests/1"}
        if inside == "/merge_requests":
            assert call.asked("state") == "opened"
            fits = call.asked("target_branch") == self.base
            return 200, _page(call, [self._pull(*item) for item in sorted(self.pulls.items()) if fits])
        if found := re.fullmatch(r"/statuses/([0-9a-f]{40})", inside):
            return self._status(found[1], call.body)
        if found := re.fullmatch(r"/merge_requests/([0-9]+)/notes", inside):
            number = int(found[1])
            if call.method == "POST":
                return 201, self._note(self.kept(max(self.comments, default=0) + 1, number, call.body["body"]))
            assert (call.asked("sort"), call.asked("order_by")) == ("asc", "created_at")
            return 200, _page(call, [self._note(name) for name in self.below(number)])
        if (found := re.fullmatch(r"/merge_requests/([0-9]+)/notes/([0-9]+)", inside)) and call.method == "PUT":
            number, author, _ = self.comments.get(int(found[2]), (0, 0, ""))
            if author != US or number != int(found[1]):
                raise Refused(403 if author else 404)
            return 200, self._note(self.kept(int(found[2]), number, call.body["body"]))
        raise Refused(404)

    def _status(self, commit: str, body: Any) -> Answer:
        assert set(body) <= {"state", "name", "description", "target_url", "ref"}
        assert body["state"] in ("pending", "running", "success", "failed", "canceled")
        assert len(body["description"]) <= 255
        if self.shown.get((commit, body["name"])) == body["state"] == "pending":
            text = "Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition)"
            raise Refused(400, {"message": text})
        self.shown[commit, body["name"]] = body["state"]
        self.statuses.append((commit, body["name"], body["state"]))
        return 201, {"id": 1, "sha": commit, "name": body["name"], "status": body["state"]}

    def _pull(self, number: int, what: tuple[str, str]) -> Any:
        source = {"ana/home/cloud": 1, "": None}.get(what[1], 2)
        return {"iid": number, "id": 9000 + number, "sha": what[0], "target_branch": self.base, "state": "opened",
                "source_project_id": source, "target_project_id": 1}  # fmt: skip

    def _note(self, name: int) -> Any:
        _, author, body = self.comments[name]
        return {"id": name, "body": body, "author": {"id": author}, "system": False, "created_at": WHEN}


def _user(number: int) -> Any:
    return {"id": number, "login": f"user{number}"}


def _page(call: Call, items: list[Any]) -> list[Any]:
    size, page = min(100, int(call.asked("per_page", "20"))), int(call.asked("page", "1"))
    return items[(page - 1) * size : page * size]
