"""Registers our webhook at a forge, once: one that is there with the same URL is brought up to date.

GitHub: ``/repos/{owner}/{repo}/hooks`` (2022-11-28), Gitea and Forgejo: the same path of ``/api/v1``, GitLab:
``/projects/{id}/hooks``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.forges.calls import paged
from automator67.engine.forges.github import HEADERS
from automator67.engine.forges.remote import Forge

_NAMES = {"github": "GitHub", "gitea": "Gitea", "gitlab": "GitLab"}
_PERMISSIONS = {
    "github": "Webhooks: read and write", "gitea": "scope write:repository, and the repository's administration",
    "gitlab": "scope api and role Maintainer",
}  # fmt: skip


def register(forge: Forge, token: str, url: str, secret: str, *, transport: httpx.BaseTransport | None = None) -> bool:
    """Have the forge send pushes and pull requests to ``url``, signed with ``secret``; return whether that is new.

    Raises ApiError.
    """
    headers = {
        "github": {**HEADERS, "Authorization": f"Bearer {token}"},
        "gitea": {"Authorization": f"token {token}"}, "gitlab": {"PRIVATE-TOKEN": token},
    }[forge.kind]  # fmt: skip
    client = Client(Provider(_NAMES[forge.kind], forge.api), lambda: headers, transport=transport)
    base = f"/projects/{quote(forge.path, safe='')}" if forge.kind == "gitlab" else f"/repos/{forge.path}"
    try:
        there = _there(client, forge, f"{base}/hooks", url)
        body = _body(forge, url, secret, new=there is None)
        if there is None:
            client.call("POST", f"{base}/hooks", body=body)
        else:
            client.call("PUT" if forge.kind == "gitlab" else "PATCH", f"{base}/hooks/{there}", body=body)
    except ApiError as error:
        if error.status in (401, 403, 404):
            raise ApiError(
                f"the token may not manage webhooks: it needs {_PERMISSIONS[forge.kind]} ({error})"
            ) from None
        raise
    finally:
        client.close()
    return there is None


def _there(client: Client, forge: Forge, path: str, url: str) -> int | None:
    """Return the id of the hook that leads to ``url``."""
    size = ("limit", 50) if forge.kind == "gitea" else ("per_page", 100)
    for item in paged(lambda asked: client.get(path, asked), {}, size, capped=True):
        known = item.get("url") if forge.kind == "gitlab" else (item.get("config") or {}).get("url")
        if known == url and isinstance(item.get("id"), int):
            return int(item["id"])
    return None


def _body(forge: Forge, url: str, secret: str, *, new: bool) -> dict[str, Any]:
    if forge.kind == "gitlab":
        return {"url": url, "token": secret, "push_events": True, "merge_requests_events": True,
                "enable_ssl_verification": True}  # fmt: skip
    config = {"url": url, "content_type": "json", "secret": secret}
    body: dict[str, Any] = {"config": config, "active": True, "events": ["push", "pull_request"]}
    if forge.kind == "github":
        return body | ({"name": "web"} if new else {})
    return body | ({"type": "gitea"} if new else {})
