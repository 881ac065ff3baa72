"""Which driver suits a remote."""

from __future__ import annotations

from collections.abc import Callable

from automator67.engine.apis.client import ApiError
from automator67.engine.breaker import Breaker
from automator67.engine.forges.api_reporter import ApiReporter
from automator67.engine.forges.deployments import Deployments, WithDeployments
from automator67.engine.forges.gitea import Gitea
from automator67.engine.forges.github import GitHub
from automator67.engine.forges.github_reviews import GitHubReviews
from automator67.engine.forges.gitlab import GitLab
from automator67.engine.forges.notes import NoteEditor, NotesReporter
from automator67.engine.forges.pull_requests import GitHubPullRequests, PullRequests
from automator67.engine.forges.remote import Forge, forge_of
from automator67.engine.forges.reporter import Reporter
from automator67.engine.forges.reviews import Reviews


def reporter_for(
    url: str, token: str, notes: NoteEditor, breaker: Breaker, *, api: str = "", cloud: Callable[[], str] | None = None
) -> Reporter:
    """Return what shows statuses for the repository at ``url``: its forge if we know it and have a token, else notes.

    ``api`` is the API of a forge of one's own (see ``forge_of``). Where the forge has deployments they are kept under
    the name of the ``cloud``. Raises ValueError when the API may not be used.
    """
    forge = forge_of(url, api) if token else None
    if forge is None:
        return NotesReporter(notes, breaker)
    try:
        if forge.kind == "github":
            statuses = GitHub(*forge.owner_and_name, lambda: token, api=forge.api, breaker=breaker)
            if cloud is None:
                return statuses
            live = Deployments(*forge.owner_and_name, token, cloud, api=forge.api, breaker=breaker)
            return WithDeployments(statuses, live)
        return ApiReporter(_driver(forge, token, breaker))
    except ApiError as error:
        raise ValueError(str(error)) from None


def reviews_for(url: str, token: str, breaker: Breaker, *, api: str = "") -> Reviews | None:
    """Return the pull requests of the repository at ``url``, None where there are none that we can see.

    Raises ApiError when ``api`` may not be used.
    """
    forge = forge_of(url, api) if token else None
    if forge is None:
        return None
    if forge.kind == "github":
        return GitHubReviews(*forge.owner_and_name, token, api=forge.api, breaker=breaker)
    return _driver(forge, token, breaker)


def pull_requests_of(url: str, token: str, *, api: str = "") -> PullRequests | None:
    """Return where pull requests of the repository at ``url`` are opened, None where that cannot be done."""
    forge = forge_of(url, api) if token else None
    if forge is None:
        return None
    if forge.kind == "github":
        return GitHubPullRequests(*forge.owner_and_name, token, api=forge.api)
    try:
        return _driver(forge, token, None)
    except ApiError:
        # Statuses go there too, and that the API may not be used is said of them.
        return None


def _driver(forge: Forge, token: str, breaker: Breaker | None) -> Gitea | GitLab:
    if forge.kind == "gitea":
        return Gitea(*forge.owner_and_name, token, api=forge.api, breaker=breaker)
    return GitLab(forge.path, token, api=forge.api, breaker=breaker)
