"""Pull requests of GitHub, on github.com or an Enterprise server: REST API, version 2022-11-28.

Needs of a fine-grained token: Pull requests: read and write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import httpx

from automator67.engine.apis.client import Client, Provider
from automator67.engine.breaker import Breaker
from automator67.engine.forges.calls import Calls
from automator67.engine.forges.github import HEADERS
from automator67.engine.forges.one_comment import Comment, id_of, keep
from automator67.engine.forges.remote import GITHUB
from automator67.engine.forges.reviews import Pull

_SIZE = ("per_page", 100)
_NAME = "GitHub"
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class GitHubReviews:
    """The pull requests of ``owner/repo``. Raises ApiError for an API that is not encrypted."""

    def __init__(
        self,
        owner: str,
        repo: str,
        token: str,
        *,
        api: str = GITHUB,
        transport: httpx.BaseTransport | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._repo = f"/repos/{owner}/{repo}"
        self._name = f"{owner}/{repo}".lower()
        headers = {**HEADERS, "Authorization": f"Bearer {token}"}
        client = Client(Provider(_NAME, GITHUB), lambda: headers, base=api, transport=transport, breaker=breaker)
        self._call = Calls(client, self._name, "'Pull requests: write'")
        self._me = 0

    def open_pulls(self, branch: str) -> list[Pull]:
        """Return the pull requests that ask to be merged into ``branch``. Raises ApiError."""
        found = (
            self._pull(item)
            for item in self._call.pages(f"{self._repo}/pulls", {"state": "open", "base": branch}, _SIZE)
        )
        return [pull for pull in found if pull is not None]

    def comment(self, number: int, marker: str, body: str, known: int) -> int:
        """Write our one comment, in place of the one that is there; return its id. Raises ApiError."""
        return keep(self, number, marker, body, known)

    def listed(self, number: int) -> Iterable[Comment]:
        """Return the comments below a pull request. Raises ApiError."""
        for item in self._call.pages(f"{self._repo}/issues/{number}/comments", {}, _SIZE):
            yield Comment(id_of(item, _NAME), (item.get("user") or {}).get("id", 0), str(item.get("body", "")))

    def written(self, number: int, body: str) -> int:
        """Write a comment; return its id. Raises ApiError."""
        return id_of(self._call("POST", f"{self._repo}/issues/{number}/comments", {"body": body}), _NAME)

    def changed(self, number: int, comment: int, body: str) -> int:  # noqa: ARG002 (comments have ids of their own)
        """Give a comment another text; return its id. Raises ApiError."""
        return id_of(self._call("PATCH", f"{self._repo}/issues/comments/{comment}", {"body": body}), _NAME)

    def myself(self) -> int:
        """Return who the token is. Raises ApiError."""
        self._me = self._me or id_of(self._call("GET", "/user"), _NAME)
        return self._me

    def close(self) -> None:
        """Let go of the connection."""
        self._call.close()

    def _pull(self, item: dict[str, Any]) -> Pull | None:
        head, number = item.get("head") or {}, item.get("number")
        sha = head.get("sha")
        if not isinstance(number, int) or not isinstance(sha, str) or not _SHA.fullmatch(sha):
            return None
        # The repository of a deleted fork is null.
        name = str((head.get("repo") or {}).get("full_name", "")).lower()
        return Pull(number, sha, f"refs/pull/{number}/head", fork=name != self._name)
