"""A pull request's event, as its forge sends it, becomes a comment and a status, though the engine is killed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import deliveries
from tests.support.cloud import Cloud, wait_for
from tests.support.githttp import GitServer, commit_files, git
from tests.support.github_reviews import Repository
from tests.support.own_forges import GiteaRepository, GitLabRepository
from tests.support.standin import served

pytestmark = [pytest.mark.timeout(180)]

BLOG = "image: ghcr.io/ana/blog:1.4\nport: 8080\n"


def github_event(number: int) -> tuple[str, dict[str, Any]]:
    pull = {"base": {"ref": "main"}}
    return "pull_request", {
        "action": "opened", "number": number, "repository": {"full_name": "ana/cloud"}, "pull_request": pull,
    }  # fmt: skip


def gitlab_event(number: int) -> tuple[str, dict[str, Any]]:
    asked = {"iid": number, "action": "open", "target_branch": "main"}
    project = {"path_with_namespace": "ana/home/cloud"}
    return "Merge Request Hook", {"object_kind": "merge_request", "project": project, "object_attributes": asked}


@dataclass(frozen=True)
class Kind:
    """A forge: its stand-in, where its API is below the server, where our repository is, what it sends."""

    forge: Callable[[], Any]
    api: str
    path: str
    ref: str
    token: str
    event: Callable[[int], tuple[str, dict[str, Any]]]
    signed: Callable[..., deliveries.Delivery]


KINDS = {
    "github": Kind(Repository, "", "ana/cloud", "refs/pull/7/head", "ghp_writes", github_event, deliveries.github),
    "forgejo": Kind(
        GiteaRepository, "/api/v1", "ana/cloud", "refs/pull/7/head", "tok", github_event, deliveries.forgejo
    ),
    "gitlab": Kind(
        GitLabRepository, "/api/v4", "ana/home/cloud", "refs/merge-requests/7/head", "tok", gitlab_event,
        deliveries.gitlab,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_an_event_becomes_a_comment_though_the_engine_dies(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    forge = kind.forge()
    with GitServer(tmp_path) as server, served(forge.api) as api, Cloud(tmp_path / "home") as cloud:
        repo = server.create(kind.path)
        commit_files(repo.path, {"automator67.yaml": "name: home\n", "apps/blog.yaml": BLOG})
        engine = [
            sys.executable, "-m", "automator67.engine.cli", "engine", "--repo", repo.url, "--poll", "600s",
            "--listen", f"127.0.0.1:{cloud.listen}", "--web", f"127.0.0.1:{cloud.web}",
            "--forge-url", f"{api}{kind.api}",
        ]  # fmt: skip
        cloud.start("engine", engine, A67_FORGE_TOKEN=kind.token)
        wait_for("the first look at the forge", lambda: forge.api.calls or None)
        cloud.bare = Path(kind.path)
        cloud.start_web()
        cloud.kill("engine")

        head = commit_files(repo.path, {"automator67.yaml": "name: home\n", "apps/wiki.yaml": BLOG}, branch="pr7")
        git("-C", repo.path, "update-ref", kind.ref, head)
        forge.pulls[7] = (head, kind.path)
        event, payload = kind.event(7)
        headers, content = kind.signed(json.dumps(payload).encode(), event, cloud.secret)
        answer = httpx.post(f"http://127.0.0.1:{cloud.web}/hooks/{name}", content=content, headers=headers)
        assert answer.status_code == 202, answer.text

        cloud.start("engine", engine, A67_FORGE_TOKEN=kind.token)
        body = wait_for("the comment", lambda: next(iter(forge.bodies(7)), None))
        assert "wiki" in body
        wait_for("the status", lambda: (head, "automator67/plan", "success") in forge.statuses or None)
        assert forge.api.broken == []
        assert len(forge.bodies(7)) == 1
