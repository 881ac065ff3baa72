"""Stand-ins for the webhooks of one repository at GitHub, Gitea, Forgejo and GitLab."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tests.support.contracts import contract
from tests.support.openapi import Described
from tests.support.standin import Answer, Call, Refused, StandIn

_GITHUB = "github/api.github.com.gitops-subset.json"
_FILES = {"gitea": "gitea/openapi-1.20.json", "forgejo": "forgejo/openapi3-converted.json"}
API = {"github": "", "gitea": "/api/v1", "forgejo": "/api/v1", "gitlab": "/api/v4"}
KINDS = tuple(API)
PATH = {"github": "ana/cloud", "gitea": "ana/cloud", "forgejo": "ana/cloud", "gitlab": "ana/home/cloud"}


@dataclass
class Hooks:
    """What is registered, by id: the body it was made or changed with."""

    kind: str
    hooks: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind == "github":
            self.api = StandIn(Described(contract(_GITHUB)), self._answer, token="tok")
        elif self.kind == "gitlab":
            self.api = StandIn(None, self._answer, token="tok", lets_in="private-token", scheme="")
        else:
            described = Described(contract(_FILES[self.kind]), "/api/v1")
            self.api = StandIn(described, self._answer, token="tok", scheme="token ")

    def _answer(self, call: Call) -> Answer:
        project = "/projects/ana%2Fhome%2Fcloud" if self.kind == "gitlab" else "/repos/ana/cloud"
        inside = call.path.removeprefix(API[self.kind]).removeprefix(project)
        if inside == "/hooks" and call.method == "GET":
            size = int(call.asked("limit") or call.asked("per_page"))
            first = (int(call.asked("page", "1")) - 1) * size
            return 200, [self._shown(n) for n in sorted(self.hooks)][first : first + size]
        if inside == "/hooks" and call.method == "POST":
            number = max(self.hooks, default=0) + 1
            self.hooks[number] = self._good(call.body)
            return 201, self._shown(number)
        found = re.fullmatch(r"/hooks/([0-9]+)", inside)
        if found is None or int(found[1]) not in self.hooks or call.method != self._changes:
            raise Refused(404)
        self.hooks[int(found[1])] |= self._good(call.body)
        return 200, self._shown(int(found[1]))

    @property
    def _changes(self) -> str:
        return "PUT" if self.kind == "gitlab" else "PATCH"

    def _good(self, body: Any) -> dict[str, Any]:
        if self.kind == "gitlab":
            assert set(body) <= {"url", "token", "push_events", "merge_requests_events", "enable_ssl_verification"}
        return dict(body)

    def _shown(self, number: int) -> Any:
        kept = self.hooks[number]
        if self.kind == "gitlab":
            return {"id": number} | {k: v for k, v in kept.items() if k != "token"}
        config = {k: v for k, v in kept["config"].items() if k != "secret"}
        if self.kind != "github":
            return {"id": number, "type": kept["type"], "config": config, "active": kept["active"]}
        made = deepcopy(json.loads(contract(_GITHUB).read_text())["components"]["examples"]["hook"]["value"])
        return made | {"id": number, "config": config, "events": kept["events"], "active": kept["active"]}
