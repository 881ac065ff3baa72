"""A stand-in for the pull requests and comments of one repository at GitHub, held to the published description."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tests.support.contracts import contract
from tests.support.openapi import Described
from tests.support.standin import Answer, Call, Refused, StandIn

US, EVE = 4242, 666
LIMIT = 65_536
_FILE = "github/api.github.com.gitops-subset.json"
_STATUSES = re.compile(r"/repos/ana/cloud/statuses/([0-9a-f]{40})")
_DEPLOYMENTS = re.compile(r"/repos/ana/cloud/deployments(?:/([0-9]+)/statuses)?")
_COMMENTS = re.compile(r"/repos/ana/cloud/issues/([0-9]+)/comments")
_COMMENT = re.compile(r"/repos/ana/cloud/issues/comments/([0-9]+)")


@dataclass
class Repository:
    """``pulls``: by number the head commit and the repository it is in. ``comments``: by id (number, author, body)."""

    pulls: dict[int, tuple[str, str]] = field(default_factory=dict)
    comments: dict[int, tuple[int, int, str]] = field(default_factory=dict)
    statuses: list[tuple[str, str, str]] = field(default_factory=list)
    """(commit, context, state) of every status posted."""

    deployments: list[tuple[str, str, list[tuple[str, str]]]] = field(default_factory=list)
    """(commit, environment, every (state, description) posted) of each."""

    def __post_init__(self) -> None:
        self._examples = json.loads(contract(_FILE).read_text())["components"]["examples"]
        self.api = StandIn(Described(contract(_FILE)), self._answer, token="ghp_writes")

    def bodies(self, number: int, author: int = US) -> list[str]:
        """What an author has written below a pull request."""
        return [body for at, by, body in self.comments.values() if (at, by) == (number, author)]

    def _answer(self, call: Call) -> Answer:
        if call.path == "/user":
            return 200, self._example("private-user-response-with-public-profile-information") | {"id": US}
        if call.path == "/repos/ana/cloud/pulls" and call.method == "GET":
            assert (call.asked("state"), call.asked("base")) == ("open", "main")
            return 200, _page(call, [self._pull(*item) for item in sorted(self.pulls.items())])
        if found := _STATUSES.fullmatch(call.path):
            self.statuses.append((found[1], call.body["context"], call.body["state"]))
            return 201, self._example("status")
        if found := _DEPLOYMENTS.fullmatch(call.path):
            return self._deployment(call, found[1])
        if found := _COMMENTS.fullmatch(call.path):
            return self._below(call, int(found[1]))
        if found := _COMMENT.fullmatch(call.path):
            number, author, _ = self.comments.get(int(found[1]), (0, 0, ""))
            if author != US:
                raise Refused(403 if author else 404)
            return 200, self._keep(int(found[1]), number, call.body["body"])
        raise Refused(404)

    def _deployment(self, call: Call, number: str | None) -> Answer:
        if number is not None:
            posts = self.deployments[int(number) - 1][2]
            if call.method == "POST":
                posts.append((call.body["state"], call.body["description"]))
                return 201, self._example("deployment-status")
            made = self._example("deployment-status-items")[:1]
            return 200, [made[0] | {"state": s, "description": d} for s, d in reversed(posts)]
        if call.method == "POST":
            self.deployments.append((call.body["ref"], call.body["environment"], []))
            return 201, self._example("deployment") | {"id": len(self.deployments)}
        asked = (call.asked("sha"), call.asked("environment"))
        there = [n for n, (sha, where, _) in enumerate(self.deployments, 1) if (sha, where) == asked]
        return 200, [self._example("deployment") | {"id": n} for n in there]

    def _below(self, call: Call, number: int) -> Answer:
        if call.method == "POST":
            return 201, self._keep(max(self.comments, default=0) + 1, number, call.body["body"])
        return 200, _page(call, [self._comment(i) for i, (at, _, _) in sorted(self.comments.items()) if at == number])

    def _keep(self, name: int, number: int, body: str) -> Any:
        if len(body) > LIMIT:
            raise Refused(422, {"message": "body is too long (maximum is 65536 characters)"})
        self.comments[name] = (number, US, body)
        return self._comment(name)

    def _comment(self, name: int) -> Any:
        _, author, body = self.comments[name]
        made = self._example("issue-comment") | {"id": name, "body": body}
        made["user"]["id"] = author
        return made

    def _pull(self, number: int, what: tuple[str, str]) -> Any:
        made = deepcopy(self._examples["pull-request-simple-items"]["value"][0])
        # The published example has a team without the "type" that the description next to it demands.
        made |= {"number": number, "requested_teams": []}
        made["head"]["sha"], made["head"]["repo"]["full_name"] = what
        return made

    def _example(self, name: str) -> Any:
        return deepcopy(self._examples[name]["value"])


def _page(call: Call, items: list[Any]) -> list[Any]:
    size, page = int(call.asked("per_page", "30")), int(call.asked("page", "1"))
    return items[(page - 1) * size : page * size]
