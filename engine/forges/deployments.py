"""GitHub's deployments: an environment named like the cloud shows which commit is live.

REST API 2022-11-28: ``/repos/{owner}/{repo}/deployments`` and their statuses. A fine-grained token needs Deployments:
read and write; without it everything else works as before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import httpx

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.breaker import Breaker
from automator67.engine.forges.github import HEADERS
from automator67.engine.forges.one_comment import id_of
from automator67.engine.forges.remote import GITHUB
from automator67.engine.forges.reporter import PostFailed, Reporter
from automator67.engine.forges.statuses import Due, Status

log = logging.getLogger("automator67.deployments")

CONTEXT = "automator67/apply"
"""The status that says how far a commit is deployed."""
_NAME = "GitHub"
_STATES = {"pending": "in_progress", "success": "success", "failure": "failure", "error": "inactive"}


class Deployments:
    """The deployments of ``owner/repo``. ``environment`` gives the cloud's name. Raises ApiError."""

    def __init__(
        self,
        owner: str,
        repo: str,
        token: str,
        environment: Callable[[], str],
        *,
        api: str = GITHUB,
        transport: httpx.BaseTransport | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        headers = {**HEADERS, "Authorization": f"Bearer {token}"}
        self._client = Client(Provider(_NAME, api), lambda: headers, transport=transport, breaker=breaker)
        self._path = f"/repos/{owner}/{repo}/deployments"
        self._environment = environment

    def show(self, commit: str, status: Status) -> None:
        """Have the commit's deployment say how far it is; what is shown already is not said again. Raises ApiError."""
        state = _STATES[status.state]
        deployment = self._find(commit)
        if deployment is None:
            if state == "inactive":
                return
            deployment = self._make(commit)
        statuses = f"{self._path}/{deployment}/statuses"
        last = self._client.get(statuses, {"per_page": "1"})
        if last and (last[0].get("state"), last[0].get("description")) == (state, status.description):
            return
        self._client.call("POST", statuses, body={"state": state, "description": status.description})

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _find(self, commit: str) -> int | None:
        query = {"sha": commit, "environment": self._environment(), "task": "deploy", "per_page": "1"}
        found = self._client.get(self._path, query)
        return id_of(found[0], _NAME) if found else None

    def _make(self, commit: str) -> int:
        # Not for production in GitHub's sense: only then an older deployment becomes inactive by itself.
        body = {
            "ref": commit, "environment": self._environment(), "auto_merge": False, "required_contexts": [],
            "description": "made so by automator67", "production_environment": False,
        }  # fmt: skip
        return id_of(self._client.call("POST", self._path, body=body), _NAME)


class WithDeployments:
    """A reporter of statuses that keeps the deployments, too."""

    def __init__(self, statuses: Reporter, deployments: Deployments) -> None:
        self._statuses, self._deployments, self._off = statuses, deployments, False

    def post(self, batch: Sequence[Due]) -> Iterator[tuple[Due, PostFailed | None]]:
        """Post each. What the deployment could not be told for now is tried again, together with its status."""
        later: list[tuple[Due, PostFailed]] = []
        now = []
        for item in batch:
            failure = self._show(item) if item.status.context == CONTEXT and not self._off else None
            if failure is None:
                now.append(item)
            else:
                later.append((item, failure))
        yield from later
        yield from self._statuses.post(now)

    def close(self) -> None:
        """Close the connections."""
        self._deployments.close()
        self._statuses.close()

    def _show(self, item: Due) -> PostFailed | None:
        try:
            self._deployments.show(item.commit, item.status)
        except ApiError as error:
            if error.status == 422:
                # Of this one alone: it may not have the commit yet.
                log.info("no deployment of %s is shown: %s", item.commit[:12], error)
                return None
            if error.status in (401, 403, 404):
                self._off = True
                log.warning("no deployments are shown: the token needs 'Deployments: write' (%s)", error)
                return None
            return PostFailed(str(error), retry_after=error.retry_after)
        return None
