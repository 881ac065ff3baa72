"""The straight line with real parts: a push to a bare repository becomes running apps, notes and recorded states."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from automator67.engine.judge import AppState
from tests.support.cloud import Cloud, http_app, wait_for

pytestmark = [pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud")) as running:
        running.poll = "300ms"
        running.push(running.base(), "two nodes")
        running.up()
        yield running


def synced(state: AppState) -> bool:
    return state.sync == "synced" and state.health == "healthy"


def answers(state: AppState) -> set[str]:
    return {httpx.get(f"http://{i['address']}/").text for i in state.instances if i["address"]}


def test_a_push_runs_replicas_on_both_nodes(cloud: Cloud) -> None:
    commit = cloud.push({"apps/web.yaml": http_app("hello", replicas=2)}, "add web")
    record = cloud.wait_commit(commit)
    assert record.summary == "1 created"
    state = cloud.wait_app("web", synced)
    assert {i["node"] for i in state.instances} == {"one", "two"}
    assert answers(state) == {"hello"}


def test_a_change_replaces_the_replicas_and_says_why(cloud: Cloud) -> None:
    commit = cloud.push({"apps/web.yaml": http_app("changed", replicas=2)}, "new greeting")
    record = cloud.wait_commit(commit)
    (change,) = record.plan["changes"]
    assert change["kind"] == "update"
    assert change["fields"] == [{"path": "env.GREETING", "old": "a value", "new": "another value", "secret": False}]
    assert answers(cloud.wait_app("web", synced)) == {"changed"}


def test_the_commit_carries_notes(cloud: Cloud) -> None:
    def noted() -> str | None:
        cloud.git("fetch", "-q", "origin", "+refs/notes/*:refs/notes/*")
        text = cloud.git("log", "-1", "--notes=automator67")
        return text if "automator67/health success" in text.replace("  ", " ") else None

    text = wait_for("notes on the commit", noted)
    assert "automator67/apply" in text
    assert "1 updated" in text


def test_an_invalid_commit_is_refused_with_positions_and_changes_nothing(cloud: Cloud) -> None:
    before = cloud.app("web")
    bad = cloud.push({"apps/web.yaml": "command: [x]\nruntime: process\nreplica: 2\n"}, "typo")
    record = cloud.wait_commit(bad, "invalid")
    assert record.summary.startswith("apps/web.yaml:3:1: ")
    assert "replicas" in record.summary, "the near miss is named"
    after = cloud.app("web")
    assert before is not None
    assert after is not None
    assert [i["id"] for i in before.instances] == [i["id"] for i in after.instances]
    cloud.wait_commit(cloud.push({"apps/web.yaml": http_app("changed", replicas=2)}, "mended"))


def test_a_revision_that_never_gets_healthy_goes_back_and_is_held(cloud: Cloud) -> None:
    broken = http_app("broken", replicas=2) | {"command": ["sh", "-c", "echo cannot start; exit 3"]}
    broken["update"] = {"healthy_for": "0s", "deadline": "4s"}
    bad = cloud.push({"apps/web.yaml": broken}, "break web")
    record = cloud.wait_commit(bad, "failed")
    assert "went back to its last healthy revision" in record.summary
    state = cloud.wait_app("web", lambda s: s.sync == "held" and s.health == "healthy")
    assert answers(state) == {"changed"}
    cloud.wait_commit(cloud.push({"apps/web.yaml": http_app("fixed", replicas=2)}, "fix web"))
    assert answers(cloud.wait_app("web", synced)) == {"fixed"}


def test_commands_show_it_as_text_and_json(cloud: Cloud) -> None:
    cloud.wait_app("web", synced)
    status = json.loads(cloud.cli("status", "--json").stdout)
    assert {n["name"]: n["state"] for n in status["nodes"]} == {"one": "healthy", "two": "healthy"}
    assert [a["app"] for a in status["apps"]] == ["web"]
    assert "web" in cloud.cli("status").stdout
    history = json.loads(cloud.cli("history", "--json").stdout)
    assert [c["subject"] for c in history][:2] == ["fix web", "break web"]
    inspected = json.loads(cloud.cli("inspect", history[0]["id"][:8], "--json").stdout)
    assert {s["verb"] for s in inspected["actions"]} == {"release", "start", "stop"}
    said = {s["context"] for s in inspected["statuses"]}
    assert said >= {"automator67/plan", "automator67/apply", "automator67/health"}
    assert cloud.cli("sync", "--json").returncode == 0
    assert json.loads(cloud.cli("doctor", "--json").stdout)
    done = cloud.cli("plan", "--repo", str(cloud.clone))
    assert (done.returncode, done.stdout.strip()) == (0, "nothing to do; 1 unchanged")
    why = json.loads(cloud.cli("plan", "--repo", str(cloud.clone), "--why", "app/web", "--json").stdout)
    assert {s["node"] for s in why[0]["scores"]} == {"one", "two"}


def test_logs_come_from_every_replica(cloud: Cloud) -> None:
    text = cloud.cli("logs", "web").stdout
    assert text.count("up with fixed") == 2


def test_what_is_measured_is_shown(cloud: Cloud) -> None:
    def metrics() -> str:
        return httpx.get(f"http://127.0.0.1:{cloud.web}/metrics").text

    wait_for("the first minute", lambda: "automator67_engine_passes_total" in metrics(), 90)
    assert 'automator67_node_state{node="one",state="healthy"} 1.0' in metrics()
    assert 'automator67_app_replicas_healthy{app="web"} 2.0' in metrics()
    assert 'automator67_breaker_state{name="forge",state="closed"} 1.0' in metrics()

    def used() -> float:
        history = httpx.get(f"http://127.0.0.1:{cloud.web}/api/v1/history/node/one").json()
        return max((n for n in history["series"].get("memory_used", []) if n), default=0.0)

    # The first minute may end before the node has measured itself.
    assert wait_for("what the node uses", used, 90) > 1e6
    status = json.loads(cloud.cli("status", "--json").stdout)
    assert {"name": "forge", "phase": "closed"}.items() <= status["breakers"][0].items()
    wait_for("uptime", lambda: any(m["uptime"] for m in json.loads(cloud.cli("uptime", "--json").stdout)), 90)
    assert cloud.cli("quotas").stdout.strip() == "no account has a limit that is known"


def test_the_page_shows_it(cloud: Cloud) -> None:
    page = httpx.get(f"http://127.0.0.1:{cloud.web}/").text
    assert "web" in page
    assert "one" in page
    assert "fix web" in page


def test_removal_prunes_and_forgets(cloud: Cloud) -> None:
    commit = cloud.push({"apps/web.yaml": None}, "remove web")
    cloud.wait_commit(commit)
    wait_for("no app left", lambda: cloud.app("web") is None)
    assert not (cloud.directory / "nothing").exists()


def test_force_push_and_branch_deletion(cloud: Cloud, tmp_path: Path) -> None:
    keep = cloud.push({"apps/web.yaml": http_app("kept")}, "web again")
    cloud.wait_commit(keep)
    cloud.git("checkout", "-q", "--orphan", "fresh")
    rewritten = cloud.push({"apps/web.yaml": http_app("rewritten")}, "history rewritten", force=True)
    cloud.wait_commit(rewritten)
    assert answers(cloud.wait_app("web", synced)) == {"rewritten"}
    cloud.git("push", "-q", "origin", ":main")
    wait_for(
        "the error to be known",
        lambda: "keeping the last commit" in json.loads(cloud.cli("status", "--json").stdout)["remote_error"],
    )
    assert answers(cloud.wait_app("web", synced)) == {"rewritten"}, "a deleted branch removes nothing"
    cloud.git("push", "-q", "origin", "HEAD:main")
    wait_for("the remote to be fine", lambda: not json.loads(cloud.cli("status", "--json").stdout)["remote_error"])
