"""A small stand-in for GitHub's commit statuses, with state: real HTTP on loopback, answers as GitHub gives them."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Self

from tests.support.contracts import contract
from tests.support.quiet_server import QuietServer

LIMIT = 1000
FULL = "This SHA and context has reached the maximum number of statuses."
_PATH = re.compile(r"/repos/([^/]+)/([^/]+)/statuses/([^/?]+)")

Answer = tuple[int, dict[str, str], Any]


class GitHubStandIn:
    """Keeps statuses of the commits it knows. ``token`` is the one that may write; ``readonly`` one that may not.

    ``statuses`` lists, by (commit, context), every (state, description, target_url) ever posted. Whatever is in
    ``faults`` answers the next requests instead, first come first. Use it as a context manager.
    """

    def __init__(self) -> None:
        self.token, self.readonly = "ghp_writes", "ghp_reads"
        self.repo = ("ana", "cloud")
        self.commits: set[str] = set()
        self.statuses: dict[tuple[str, str], list[tuple[str, str | None, str | None]]] = {}
        self.pulls: list[dict[str, Any]] = []
        """What pull requests were opened with."""
        self.faults: list[Callable[[], Answer]] = []
        self.seen: list[tuple[str, str]] = []
        """(path, Authorization) of every request."""
        self.connections = 0
        self.renamed_from: str | None = None
        self.lock = threading.Lock()
        self._http = QuietServer(("127.0.0.1", 0), _handler_for(self))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def shown(self, commit: str) -> dict[str, tuple[str, str | None]]:
        """Return what a person sees for a commit: the last state and description of each context."""
        found = {}
        for (at, context), posts in self.statuses.items():
            if at == commit:
                found[context] = posts[-1][:2]
        return found

    def answer(self, path: str, authorization: str, body: Any) -> Answer:
        """Answer one POST."""
        self.seen.append((path, authorization))
        if self.faults:
            return self.faults.pop(0)()
        given = authorization.removeprefix("Bearer ")
        if given not in (self.token, self.readonly):
            return 401, {}, error("Bad credentials", status="401")
        if path == f"/repos/{self.repo[0]}/{self.repo[1]}/pulls" and given == self.token:
            return self._pull(body)
        place = _PATH.fullmatch(path)
        if place and place[2] == self.renamed_from:
            target = f"{self.url}/repos/{self.repo[0]}/{self.repo[1]}/statuses/{place[3]}"
            return 307, {"Location": target}, error("Moved Permanently", url=target)
        if not place or (place[1], place[2]) != self.repo:
            return 404, {}, error("Not Found", status="404")
        if given == self.readonly:
            return 403, {}, error("Resource not accessible by personal access token", status="403")
        return self._create(place[3], body)

    def _pull(self, body: dict[str, Any]) -> Answer:
        if any(asked["head"] == body["head"] for asked in self.pulls):
            return 422, {}, invalid("Validation Failed", f"A pull request already exists for ana:{body['head']}.")
        self.pulls.append(body)
        page = f"https://github.com/{self.repo[0]}/{self.repo[1]}/pull/{len(self.pulls)}"
        document = json.loads(contract("github/api.github.com.gitops-subset.json").read_text())
        example = document["components"]["examples"]["pull-request"]["value"]
        # The published example has a team without the "type" that the description next to it demands.
        told = {"html_url": page, "number": len(self.pulls), "title": body["title"], "requested_teams": []}
        return 201, {"Location": page}, example | told

    def _create(self, sha: str, body: dict[str, Any]) -> Answer:
        if sha not in self.commits:
            return 422, {}, error(f"No commit found for SHA: {sha}")
        state, context = body["state"], body.get("context", "default")
        description, target = body.get("description"), body.get("target_url")
        if len(context) > 255 or len(description or "") > 140:
            return 422, {}, invalid("Validation Failed", "is too long")
        posts = self.statuses.setdefault((sha, context.lower()), [])
        if len(posts) >= LIMIT:
            return (
                422,
                {},
                invalid("Validation Failed", FULL),
            )
        posts.append((state, description, target))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        status = {
            "url": f"{self.url}/repos/ana/cloud/statuses/{sha}", "avatar_url": None, "id": len(posts),
            "node_id": "SC_1", "state": state, "description": description, "target_url": target, "context": context,
            "created_at": now, "updated_at": now, "creator": None,
        }  # fmt: skip
        return 201, {"Location": str(status["url"])}, status


def error(message: str, **more: str) -> dict[str, Any]:
    """Return an error body as GitHub writes them."""
    return {"message": message, "documentation_url": "https://docs.github.com/rest", **more}


def invalid(message: str, detail: str) -> dict[str, Any]:
    """Return a validation error body."""
    return {**error(message), "errors": [{"resource": "Status", "code": "custom", "message": detail}]}


def _handler_for(hub: GitHubStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            with hub.lock:
                hub.connections += 1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with hub.lock:
                status, headers, content = hub.answer(self.path, self.headers.get("Authorization", ""), body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            kind = "text/html" if isinstance(content, bytes) else "application/json; charset=utf-8"
            for name, value in {"Content-Type": kind, **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    return Handler
