"""Strategies with real agents: promoting and giving up a canary, and the way back from a revision that is bad."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from automator67.engine.judge import AppState
from automator67.engine.store.tables import events, holds
from tests.support.cloud import Cloud, http_app, wait_for

pytestmark = [pytest.mark.timeout(180)]

DEADLINE = 4.0


def app(greeting: str, strategy: str, **update: Any) -> dict[str, Any]:
    keys = {"strategy": strategy, "healthy_for": "500ms", "deadline": f"{DEADLINE:.0f}s", "drain": "300ms"} | update
    return http_app(greeting, replicas=2, update=keys, domain="web.test")


def bad(strategy: str) -> dict[str, Any]:
    """Return an app that never answers."""
    return app("bad", strategy) | {"command": [sys.executable, "-c", "import time; time.sleep(9999)"]}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud")) as running:
        running.poll = "200ms"
        running.push(running.base() | {"apps/web.yaml": app("one", "rolling")}, "web")
        running.up()
        running.wait_app("web", synced)
        yield running


def synced(state: AppState) -> bool:
    return state.sync == "synced" and state.health == "healthy"


def answers(state: AppState | None) -> list[str]:
    assert state is not None
    return sorted(httpx.get(f"http://{i['address']}/").text for i in state.instances if i["address"])


def test_a_canary_waits_for_a_person_and_takes_over(cloud: Cloud) -> None:
    commit = cloud.push({"apps/web.yaml": app("two", "canary", share=30)}, "canary")
    waiting = cloud.wait_app("web", lambda s: "automator67 promote web" in s.reason)
    assert answers(waiting) == ["one", "one", "two"]
    assert "promote web" in cloud.cli("status").stdout
    assert cloud.cli("promote", "web", "--dry-run").stdout.startswith("would be done: revision")
    assert answers(cloud.app("web")) == ["one", "one", "two"]
    assert json.loads(cloud.cli("promote", "web", "--json").stdout)["before"] is False
    cloud.wait_commit(commit)
    assert answers(cloud.wait_app("web", synced)) == ["two", "two"]
    again = cloud.cli("promote", "wep", check=False)
    assert (again.returncode, "did you mean web?" in again.stderr) == (255, True)


def test_a_canary_that_is_given_up_is_held_and_everybody_says_so(cloud: Cloud) -> None:
    commit = cloud.push({"apps/web.yaml": app("three", "canary", share=30)}, "another canary")
    cloud.wait_app("web", lambda s: "automator67 promote web" in s.reason)
    assert cloud.cli("promote", "web", "--abort").returncode == 0
    held = cloud.wait_app("web", lambda s: s.sync == "held" and len(s.instances) == 2)
    assert answers(held) == ["two", "two"]
    cloud.wait_commit(commit, "failed")
    said = "a person gave it up with `automator67 promote --abort`"
    assert said in cloud.cli("status").stdout
    assert said in cloud.cli("history").stdout
    statuses = json.loads(cloud.cli("inspect", commit[:10], "--json").stdout)["statuses"]
    assert any(said[:40] in s["description"] for s in statuses if s["context"] == "automator67/apply")
    assert "a person gave it up" in httpx.get(f"http://127.0.0.1:{cloud.web}/apps/web").text
    refused = cloud.cli("promote", "web", check=False)
    assert refused.returncode == 255


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
def test_a_bad_revision_is_back_in_time(cloud: Cloud, strategy: str) -> None:
    good = cloud.push({"apps/web.yaml": app("good", "rolling")}, "good")
    cloud.wait_commit(good)
    cloud.wait_app("web", synced)
    commit = cloud.push({"apps/web.yaml": bad(strategy)}, f"bad {strategy}")
    cloud.wait_commit(commit, "failed")
    back = cloud.wait_app("web", lambda s: s.sync == "held" and len(s.instances) == 2)
    assert answers(back) == ["good", "good"]
    with cloud.store.read() as tx:
        hold = tx.execute(select(holds)).one()
        first = tx.scalars(select(events.c.at).where(events.c.commit_id == commit, events.c.kind == "start")).first()
    assert "was not healthy within 4s" in hold.reason
    assert first is not None
    assert hold.since - first <= DEADLINE + 2
    wait_for("nothing of it to be left", lambda: {i["rev"] for i in cloud.app("web").instances} != {hold.rev})  # type: ignore[union-attr]


def test_rollback_is_a_branch_that_a_person_merges(cloud: Cloud) -> None:
    cloud.wait_commit(cloud.push({"apps/web.yaml": app("fine", "rolling")}, "fine"))
    before = cloud.wait_app("web", synced)
    cloud.wait_commit(cloud.push({"apps/web.yaml": app("worse", "rolling")}, "worse"))
    cloud.wait_app("web", lambda s: synced(s) and answers(s) == ["worse", "worse"])
    listed = json.loads(cloud.cli("revisions", "web", "--json").stdout)
    assert (listed[0]["running"], listed[1]["rev"]) == (True, before.rev_wanted)
    shown = cloud.cli("rollback", "web", "--dry-run").stdout
    assert '-  "GREETING": "worse"' in shown
    assert cloud.git("ls-remote", "origin", "refs/heads/rollback/*") == ""
    done = json.loads(cloud.cli("rollback", "web", "--json").stdout)
    assert done["rev"] == before.rev_wanted
    cloud.git("fetch", "-q", "origin")
    cloud.git("merge", "-q", f"origin/{done['branch']}")
    cloud.wait_commit(cloud.push(message="merged"))
    assert answers(cloud.wait_app("web", lambda s: synced(s) and s.rev_running == before.rev_wanted)) == [
        "fine",
        "fine",
    ]
    refused = cloud.cli("rollback", "web", "nope", check=False)
    assert (refused.returncode, "automator67 revisions web" in refused.stderr) == (255, True)
