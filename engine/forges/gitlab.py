"""GitLab, also one of your own: commit statuses, merge requests and their notes, by its REST API (``/api/v4``).

After GitLab's documentation "Commits API", "Merge requests API" and "Notes API". A token needs the scope ``api`` and
the role Developer (Maintainer where the branch is protected).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import httpx

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.breaker import Breaker
from automator67.engine.forges.calls import Calls
from automator67.engine.forges.one_comment import Comment, id_of, keep
from automator67.engine.forges.pull_requests import opened
from automator67.engine.forges.reviews import Pull
from automator67.engine.forges.statuses import Due

_SIZE = ("per_page", 100)
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
        self._project = f"/projects/{quote(path, safe='')}"
        headers = {"PRIVATE-TOKEN": token}
        provider = Provider(_NAME, api, said=("message", "error", "message.base"))
        client = Client(provider, lambda: headers, transport=transport, breaker=breaker)
        self._call = Calls(client, path, "the scope api and the role Developer")
        self._me = 0

    def close(self) -> None:
        """Close the connection."""
        self._call.close()

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
        found = (self._pull(item) for item in self._call.pages(f"{self._project}/merge_requests", query, _SIZE))
        return [pull for pull in found if pull is not None]

    def comment(self, number: int, marker: str, body: str, known: int) -> int:
        """Write our one note, in place of the one that is there; return its id. Raises ApiError."""
        return keep(self, number, marker, body, known)

    def open(self, branch: str, into: str, title: str, body: str) -> str:
        """Ask that ``branch`` be merged; return the page, empty if that was asked before. Raises PullRequestFailed."""
        asked = {"source_branch": branch, "target_branch": into, "title": title, "description": body}
        return opened(lambda: self._call("POST", f"{self._project}/merge_requests", asked), "web_url")

    def listed(self, number: int) -> Iterable[Comment]:
        """Return the notes of a merge request. Raises ApiError."""
        for item in self._call.pages(self._notes(number), {"sort": "asc", "order_by": "created_at"}, _SIZE):
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
