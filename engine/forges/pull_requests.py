"""Opens a pull request where the forge has them: ``POST /repos/{owner}/{repo}/pulls`` of GitHub's API (2022-11-28)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import httpx

from automator67.engine.apis.client import ApiError
from automator67.engine.forges.github import HEADERS, TIMEOUT_SECONDS
from automator67.engine.forges.remote import GITHUB

_EXISTS = 422


class PullRequestFailed(Exception):
    """The forge took no pull request; one line. The branch is there all the same."""


class PullRequests(Protocol):
    """Where pull requests of one repository are opened."""

    def open(self, branch: str, into: str, title: str, body: str) -> str:
        """Ask for ``branch`` to be merged; return the page, empty when it was asked before.

        Raises PullRequestFailed.
        """
        ...


def opened(ask: Callable[[], Any], page: str) -> str:
    """Return the page of what ``ask`` opens, which its answer has under ``page``; empty where it is open already.

    Raises PullRequestFailed.
    """
    try:
        made = ask()
    except ApiError as error:
        if error.status == 409:
            return ""
        raise PullRequestFailed(str(error)) from None
    return str(made.get(page, "")) if isinstance(made, dict) else ""


class GitHubPullRequests:
    """The pull requests of one repository. ``api`` is https://api.github.com or that of an Enterprise server."""

    def __init__(self, owner: str, repo: str, token: str, *, api: str = GITHUB) -> None:
        self._url = f"{api.rstrip('/')}/repos/{owner}/{repo}/pulls"
        self._token = token

    def open(self, branch: str, into: str, title: str, body: str) -> str:
        """Ask for ``branch`` to be merged; return the page, empty when it was asked before.

        Raises PullRequestFailed.
        """
        headers = {**HEADERS, "User-Agent": "automator67", "Authorization": f"Bearer {self._token}"}
        asked = {"head": branch, "base": into, "title": title, "body": body}
        try:
            answer = httpx.post(self._url, json=asked, headers=headers, timeout=TIMEOUT_SECONDS)
        except httpx.HTTPError as error:
            raise PullRequestFailed(f"the forge does not answer: {type(error).__name__}") from None
        if answer.status_code == _EXISTS:
            return ""
        if answer.status_code != 201:
            raise PullRequestFailed(f"the forge answers {answer.status_code}: may the token write pull requests?")
        try:
            return str(answer.json().get("html_url", ""))
        except (ValueError, AttributeError):
            return ""
