"""GitLab, also one of your own: commit statuses, merge requests and their notes, by its REST API (``/api/v4``).

After GitLab's documentation "Commits API", "Merge requests API" and "Notes API". A token needs the scope ``api`` and
the role Developer (Maintainer where the branch is protected).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import httpx

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.breaker import Breaker
from automator67.engine.forges.one_comment import Comment, id_of, keep
from automator67.engine.forges.pull_requests import PullRequestFailed
from automator67.engine.forges.reviews import Pull
from automator67.engine.forges.statuses import Due

PAGE = 100
MAX_PAGES = 50
_NAME = "GitLab"
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_STATES = {"pending": "pending", "success": "success", "failure": "failed", "error": "failed"}


class GitLab:
    """The project at ``path`` (GROUP/SUB/NAME). Raises ApiError for an API that is not encrypted."""

    def __init__(
        self,
        path: str,
        token: str,
        *,
        api: str,
        transport: httpx.BaseTransport | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._project, self._name = f"/projects/{quote(path, safe='')}", path
        headers = {"PRIVATE-TOKEN": token}
        provider = Provider(_NAME, api, said=("message", "error", "message.base"))
        self._client = Client(provider, lambda: headers, transport=transport, breaker=breaker)
        self._me = 0

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def post_status(self, due: Due) -> None:
        """Show a status of a commit. Raises ApiError."""
        status = due.status
        said = {"state": _STATES[status.state], "name": status.context, "description": status.description}
        try:
            self._call("POST", f"{self._project}/statuses/{due.commit}", said)
        except ApiError as error:
            # Servers before 18.3 refuse a state that is shown already: it is shown.
            if error.status != 400 or "Cannot transition status" not in str(error):
                raise

    def open_pulls(self, branch: str) -> list[Pull]:
        """Return the merge requests into ``branch``. Raises ApiError."""
        query = {"state": "opened", "target_branch": branch}
        found = (self._pull(item) for item in self._pages(f"{self._project}/merge_requests", query))
        return [pull for pull in found if pull is not None]

    def comment(self, number: int, marker: str, body: str, known: int) -> int:
        """Write our one note, in place of the one that is there; return its id. Raises ApiError."""
        return keep(self, number, marker, body, known)

    def open(self, branch: str, into: str, title: str, body: str) -> str:
        """Ask that ``branch`` be merged; return the page, empty if that was asked before. Raises PullRequestFailed."""
        asked = {"source_branch": branch, "target_branch": into, "title": title, "description": body}
        try:
            made = self._call("POST", f"{self._project}/merge_requests", asked)
        except ApiError as error:
            if error.status == 409:
                return ""
            raise PullRequestFailed(str(error)) from None
        return str(made.get("web_url", "")) if isinstance(made, dict) else ""

    def listed(self, number: int) -> Iterable[Comment]:
        """Return the notes of a merge request. Raises ApiError."""
        for item in self._pages(self._notes(number), {"sort": "asc", "order_by": "created_at"}):
            yield Comment(id_of(item, _NAME), (item.get("author") or {}).get("id", 0), str(item.get("body", "")))

    def written(self, number: int, body: str) -> int:
        """Write a note; return its id. Raises ApiError."""
        return id_of(self._call("POST", self._notes(number), {"body": body}), _NAME)

    def changed(self, number: int, comment: int, body: str) -> int:
        """Give a note another text; return its id. Raises ApiError."""
        return id_of(self._call("PUT", f"{self._notes(number)}/{comment}", {"body": body}), _NAME)

    def myself(self) -> int:
        """Return who the token is. Raises ApiError."""
        self._me = self._me or id_of(self._call("GET", "/user"), _NAME)
        return self._me

    def _notes(self, number: int) -> str:
        return f"{self._project}/merge_requests/{number}/notes"

    def _pull(self, item: dict[str, Any]) -> Pull | None:
        number, sha = item.get("iid"), item.get("sha")
        if not isinstance(number, int) or not isinstance(sha, str) or not _SHA.fullmatch(sha):
            return None
        # The project of a deleted fork is null.
        fork = item.get("source_project_id") is None or item["source_project_id"] != item.get("target_project_id")
        return Pull(number, sha, f"refs/merge-requests/{number}/head", fork=fork)

    def _pages(self, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        for page in range(1, MAX_PAGES + 1):
            items = self._call("GET", path, None, {**query, "per_page": str(PAGE), "page": str(page)})
            yield from (item for item in items or () if isinstance(item, dict))
            if not isinstance(items, list) or len(items) < PAGE:
                return

    def _call(self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> Any:
        try:
            return self._client.call(method, path, body=body, query=query)
        except ApiError as error:
            if error.status == 401:
                raise ApiError(f"the token is wrong, expired or revoked; make a new one ({error})", 401) from None
            if error.status == 403:
                text = f"the token may not do this in {self._name}: it needs scope api and role Developer ({error})"
                raise ApiError(text, 403) from None
            raise
