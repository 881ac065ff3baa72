"""Gitea and Forgejo: commit statuses, pull requests and comments, by the API that both have (``/api/v1``).

A token needs the scopes write:repository (statuses, pull requests), write:issue (comments) and read:user (to know its
own comment from one that only looks like it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import httpx

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.breaker import Breaker
from automator67.engine.forges.one_comment import Comment, id_of, keep
from automator67.engine.forges.pull_requests import PullRequestFailed
from automator67.engine.forges.reviews import Pull
from automator67.engine.forges.statuses import Due

PAGE = 50
"""What servers give at most unless they are told otherwise."""
MAX_PAGES = 100
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
        self._client = Client(Provider(_NAME, api), lambda: headers, transport=transport, breaker=breaker)
        self._me = 0

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def post_status(self, due: Due) -> None:
        """Show a status of a commit. Raises ApiError."""
        status = due.status
        said = {"state": status.state, "context": status.context, "description": status.description}
        self._call("POST", f"{self._repo}/statuses/{due.commit}", "write:repository", said)

    def open_pulls(self, branch: str) -> list[Pull]:
        """Return the pull requests that ask to be merged into ``branch``. Raises ApiError."""
        found = (self._pull(item, branch) for item in self._pages(f"{self._repo}/pulls", {"state": "open"}))
        return [pull for pull in found if pull is not None]

    def comment(self, number: int, marker: str, body: str, known: int) -> int:
        """Write our one comment, in place of the one that is there; return its id. Raises ApiError."""
        return keep(self, number, marker, body, known)

    def open(self, branch: str, into: str, title: str, body: str) -> str:
        """Ask that ``branch`` be merged; return the page, empty if that was asked before. Raises PullRequestFailed."""
        asked = {"head": branch, "base": into, "title": title, "body": body}
        try:
            made = self._call("POST", f"{self._repo}/pulls", "write:repository", asked)
        except ApiError as error:
            if error.status == 409:
                return ""
            raise PullRequestFailed(str(error)) from None
        return str(made.get("html_url", "")) if isinstance(made, dict) else ""

    def listed(self, number: int) -> Iterable[Comment]:
        """Return the comments below a pull request. Raises ApiError."""
        for item in self._call("GET", f"{self._repo}/issues/{number}/comments", "read:issue") or ():
            yield Comment(id_of(item, _NAME), (item.get("user") or {}).get("id", 0), str(item.get("body", "")))

    def written(self, number: int, body: str) -> int:
        """Write a comment; return its id. Raises ApiError."""
        path = f"{self._repo}/issues/{number}/comments"
        return id_of(self._call("POST", path, "write:issue", {"body": body}), _NAME)

    def changed(self, number: int, comment: int, body: str) -> int:  # noqa: ARG002 (comments have ids of their own)
        """Give a comment another text; return its id. Raises ApiError."""
        path = f"{self._repo}/issues/comments/{comment}"
        answer = self._call("PATCH", path, "write:issue", {"body": body})
        if answer is None:
            # A comment that is none any more is answered with nothing.
            raise ApiError(f"{_NAME} does not have comment {comment}", 404)
        return id_of(answer, _NAME)

    def myself(self) -> int:
        """Return who the token is. Raises ApiError."""
        self._me = self._me or id_of(self._call("GET", "/user", "read:user"), _NAME)
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

    def _pages(self, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        # A server may give fewer than it is asked for: only an empty page is the end.
        for page in range(1, MAX_PAGES + 1):
            items = self._call("GET", path, "read:repository", None, {**query, "limit": str(PAGE), "page": str(page)})
            if not isinstance(items, list) or not items:
                return
            yield from (item for item in items if isinstance(item, dict))

    def _call(self, method: str, path: str, scope: str, body: Any = None, query: dict[str, str] | None = None) -> Any:
        try:
            return self._client.call(method, path, body=body, query=query)
        except ApiError as error:
            if error.status == 401:
                raise ApiError(f"the token is wrong, expired or revoked; make a new one ({error})", 401) from None
            if error.status == 403:
                text = f"the token may not do this in {self._name}: it needs the scope {scope} ({error})"
                raise ApiError(text, 403) from None
            raise
