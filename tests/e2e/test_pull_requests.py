"""A pull request's event, as GitHub sends it, becomes a comment and a status, though the engine is killed between."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx
import pytest

from tests.support import deliveries
from tests.support.cloud import Cloud, wait_for
from tests.support.githttp import GitServer, commit_files, git
from tests.support.github_reviews import Repository
from tests.support.standin import served

pytestmark = [pytest.mark.timeout(180)]

BLOG = "image: ghcr.io/ana/blog:1.4\nport: 8080\n"


def test_an_event_becomes_a_comment_though_the_engine_dies(tmp_path: Path) -> None:
    forge = Repository()
    with GitServer(tmp_path) as server, served(forge.api) as api, Cloud(tmp_path / "home") as cloud:
        repo = server.create("ana/cloud")
        commit_files(repo.path, {"automator67.yaml": "name: home\n", "apps/blog.yaml": BLOG})
        engine = [
            sys.executable, "-m", "automator67.engine.cli", "engine", "--repo", repo.url, "--poll", "600s",
            "--listen", f"127.0.0.1:{cloud.listen}", "--web", f"127.0.0.1:{cloud.web}", "--forge-url", api,
        ]  # fmt: skip
        cloud.start("engine", engine, A67_FORGE_TOKEN="ghp_writes")
        wait_for("the first look at the forge", lambda: forge.api.calls or None)
        cloud.bare = Path("ana/cloud")
        cloud.start_web()
        cloud.kill("engine")

        head = commit_files(repo.path, {"automator67.yaml": "name: home\n", "apps/wiki.yaml": BLOG}, branch="pr7")
        git("-C", repo.path, "update-ref", "refs/pull/7/head", head)
        forge.pulls[7] = (head, "ana/cloud")
        event = {
            "action": "opened", "number": 7, "repository": {"full_name": "ana/cloud"},
            "pull_request": {"base": {"ref": "main"}},
        }  # fmt: skip
        headers, content = deliveries.github(json.dumps(event).encode(), "pull_request", cloud.secret)
        answer = httpx.post(f"http://127.0.0.1:{cloud.web}/hooks/github", content=content, headers=headers)
        assert answer.status_code == 202, answer.text

        cloud.start("engine", engine, A67_FORGE_TOKEN="ghp_writes")
        body = wait_for("the comment", lambda: next(iter(forge.bodies(7)), None))
        assert "wiki" in body
        wait_for("the status", lambda: (head, "automator67/plan", "success") in forge.statuses or None)
        assert forge.api.broken == []
        assert len(forge.bodies(7)) == 1
