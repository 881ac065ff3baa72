"""Which reporter suits a remote."""

from __future__ import annotations

import re

from automator67.engine.breaker import Breaker
from automator67.engine.forges.github import API, GitHub
from automator67.engine.forges.github_reviews import GitHubReviews
from automator67.engine.forges.notes import NoteEditor, NotesReporter
from automator67.engine.forges.reporter import Reporter
from automator67.engine.forges.reviews import Reviews

_REMOTE = re.compile(
    r"(?:https?://(?:[^/@]*@)?|ssh://(?:[^/@]*@)?|[^/@:]+@)(?P<host>[^/:@]+)(?::[0-9]+(?=/))?[:/]/*"
    r"(?P<owner>[A-Za-z0-9_.-]+)/(?P<repo>[A-Za-z0-9_.-]+?)(?:\.git)?/?"
)
_GITHUB_HOSTS = ("github.com", "www.github.com", "ssh.github.com")


def reporter_for(url: str, token: str, notes: NoteEditor, breaker: Breaker, *, api: str = "") -> Reporter:
    """Return what shows statuses for the repository at ``url``: GitHub if it is there and we have a token, else notes.

    ``api`` is the API of a GitHub Enterprise server (``https://HOST/api/v3``) on which the repository is. Raises
    ValueError when it may not be used.
    """
    found = _github(url, token, api)
    if found is None:
        return NotesReporter(notes, breaker)
    owner, repo, base = found
    return GitHub(owner, repo, lambda: token, api=base, breaker=breaker)


def reviews_for(url: str, token: str, breaker: Breaker, *, api: str = "") -> Reviews | None:
    """Return the pull requests of the repository at ``url``, None where there are none that we can see.

    Raises ApiError when ``api`` may not be used.
    """
    found = _github(url, token, api)
    return GitHubReviews(found[0], found[1], token, api=found[2], breaker=breaker) if found else None


def _github(url: str, token: str, api: str) -> tuple[str, str, str] | None:
    """Return owner, name and API of a repository at GitHub, None for another one or without a token."""
    remote = _REMOTE.fullmatch(url)
    if remote is not None and token and not api and remote["host"].lower() in _GITHUB_HOSTS:
        api = API
    if remote is None or not token or not api:
        return None
    return remote["owner"], remote["repo"], api
