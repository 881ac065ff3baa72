"""Gitea and Forgejo: commit statuses, pull requests and comments, by the API that both have (``/api/v1``).

A token needs the scopes write:repository (statuses, pull requests), write:issue (comments) and read:user (to know its
own comment from one that only looks like it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import httpx

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.breaker import Breaker
from automator67.engine.forges.calls import Calls
from automator67.engine.forges.one_comment import Comment, id_of, keep
from automator67.engine.forges.pull_requests import opened
from automator67.engine.forges.reviews import Pull
from automator67.engine.forges.statuses import Due

_SIZE = ("limit", 50)
"""What servers give at most unless they are told otherwise."""
_ISSUES = "the scope write:issue"
_NAME = "Gitea"
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Gitea:
    """``owner/repo`` at a server. Raises ApiError for an API that is not encrypted, unless it is on this machine."""

    def __init__(
        self,
        owner: str,
        repo: str,
        token: str,
        *,
        api: str,
        transport: httpx.BaseTransport | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._repo, self._name = f"/repos/{owner}/{repo}", f"{owner}/{repo}"
        headers = {"Authorization": f"token {token}"}
        client = Client(Provider(_NAME, api), lambda: headers, transport=transport, breaker=breaker)
        self._call = Calls(client, self._name, "the scope write:repository")
        self._me = 0

    def close(self) -> None:
        """Close the connection."""
        self._call.close()

    def post_status(self, due: Due) -> None:
        """Show a status of a commit. Raises ApiError."""
        status = due.status
        said = {"state": status.state, "context": status.context, "description": status.description}
        self._call("POST", f"{self._repo}/statuses/{due.commit}", said)

    def open_pulls(self, branch: str) -> list[Pull]:
        """Return the pull requests that ask to be merged into ``branch``. Raises ApiError."""
        found = (
            self._pull(item, branch)
            for item in self._call.pages(f"{self._repo}/pulls", {"state": "open"}, _SIZE, capped=True)
        )
        return [pull for pull in found if pull is not None]

    def comment(self, number: int, marker: str, body: str, known: int) -> int:
        """Write our one comment, in place of the one that is there; return its id. Raises ApiError."""
        return keep(self, number, marker, body, known)

    def open(self, branch: str, into: str, title: str, body: str) -> str:
        """Ask that ``branch`` be merged; return the page, empty if that was asked before. Raises PullRequestFailed."""
        asked = {"head": branch, "base": into, "title": title, "body": body}
        return opened(lambda: self._call("POST", f"{self._repo}/pulls", asked), "html_url")

    def listed(self, number: int) -> Iterable[Comment]:
        """Return the comments below a pull request. Raises ApiError."""
        for item in self._call("GET", f"{self._repo}/issues/{number}/comments", needs=_ISSUES) or ():
            yield Comment(id_of(item, _NAME), (item.get("user") or {}).get("id", 0), str(item.get("body", "")))

    def written(self, number: int, body: str) -> int:
        """Write a comment; return its id. Raises ApiError."""
        path = f"{self._repo}/issues/{number}/comments"
        return id_of(self._call("POST", path, {"body": body}, needs=_ISSUES), _NAME)

    def changed(self, number: int, comment: int, body: str) -> int:  # noqa: ARG002 (comments have ids of their own)
        """Give a comment another text; return its id. Raises ApiError."""
        path = f"{self._repo}/issues/comments/{comment}"
        answer = self._call("PATCH", path, {"body": body}, needs=_ISSUES)
        if answer is None:
            # A comment that is none any more is answered with nothing.
            raise ApiError(f"{_NAME} does not have comment {comment}", 404)
        return id_of(answer, _NAME)

    def myself(self) -> int:
        """Return who the token is. Raises ApiError."""
        self._me = self._me or id_of(self._call("GET", "/user", needs="the scope read:user"), _NAME)
        return self._me

    def _pull(self, item: dict[str, Any], branch: str) -> Pull | None:
        head, number = item.get("head") or {}, item.get("number")
        sha = head.get("sha")
        if not isinstance(number, int) or not isinstance(sha, str) or not _SHA.fullmatch(sha):
            return None
        if (item.get("base") or {}).get("ref") != branch:
            return None
        # The repository of a deleted fork is null.
        name = str((head.get("repo") or {}).get("full_name", ""))
        return Pull(number, sha, f"refs/pull/{number}/head", fork=name.lower() != self._name.lower())
