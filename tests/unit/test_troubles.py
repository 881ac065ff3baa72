"""What counts as trouble: which state of which resource, why, and what explains it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automator67.engine.alerts.incidents import Trouble
from automator67.engine.desired import Desired, Node, Origin
from automator67.engine.jobs import Job, Run, Runs
from automator67.engine.judge import AppState, Standing
from automator67.engine.nodes.judgement import OWN_NETWORK
from automator67.engine.observed import NodeState, NodeView, Observed
from automator67.engine.quotas import Quota
from automator67.engine.troubles import NETWORK, refused, troubles, unreadable
from automator67.engine.volumes import Run as VolumeRun
from automator67.engine.volumes import VolumeFacts, VolumeId
from tests.support.world import app

WELL = AppState("blog", "synced", "healthy", "none", replicas_wanted=2, replicas_healthy=2, commit_compared="c" * 40)
HERE = ({"node": "hel1"}, {"node": "nbg1"})


def look(
    *states: AppState, nodes: tuple[NodeView, ...] = (), desired: Desired | None = None, commit: str = "applying",
    observed: Observed | None = None,
) -> dict[tuple[str, str], Trouble]:  # fmt: skip
    seen = replace(observed or Observed(), nodes={n.name: n for n in nodes})
    standing = Standing({s.app: s for s in states}, commit, "the summary")
    found = troubles(desired or Desired("c" * 40), seen, standing)
    assert len({(t.resource, t.concern) for t in found}) == len(found), "one incident would hide another"
    return {(t.resource, t.state): t for t in found}


def test_when_all_is_well_nothing_is_wrong() -> None:
    assert look(WELL, nodes=(NodeView("hel1", "healthy"), NodeView("nbg1", "maintenance"))) == {}


@pytest.mark.parametrize("state", ["suspect", "failing", "unavailable"])
def test_a_node_with_its_labels(state: NodeState) -> None:
    node = Node("hel1", Origin("", ""), region="eu", labels=(("disk", "ssd"),))
    found = look(nodes=(NodeView("hel1", state, "silent"),), desired=Desired("c" * 40, nodes={"hel1": node}))
    trouble = found["node/hel1", state]
    assert trouble.reason == "silent"
    assert {("kind", "node"), ("name", "hel1"), ("disk", "ssd"), ("region", "eu")} <= trouble.labels


def test_on_the_way_back_it_is_not_over_yet_and_nothing_new() -> None:
    assert look(nodes=(NodeView("hel1", "recovering"),))["node/hel1", "recovering"].keeps
    assert look(replace(WELL, health="progressing"))["app/blog", "progressing"].keeps


def test_a_node_that_reports_trouble_of_its_own() -> None:
    ill = NodeView("hel1", "healthy", degraded=("docker is down", "disk_pressure"))
    assert look(nodes=(ill,))["node/hel1", "degraded"].reason == "docker is down, disk pressure"
    away = look(nodes=(replace(ill, state="unavailable"),))
    assert away["node/hel1", "degraded"].keeps
    assert not away["node/hel1", "unavailable"].keeps


def test_an_app_that_is_ill_is_explained_by_its_lost_nodes_alone() -> None:
    ill = replace(WELL, health="degraded", replicas_healthy=1, instances=HERE, reason="no room")
    found = look(ill, nodes=(NodeView("hel1", "unavailable"), NodeView("nbg1", "healthy")))
    trouble = found["app/blog", "degraded"]
    assert trouble.reason == "1 of 2 copies are healthy: no room"
    assert trouble.because == {NETWORK, "node/hel1"}


def test_held_blocked_and_drifted_are_concerns_of_their_own() -> None:
    found = look(replace(WELL, sync="held", reason="exit code 1", drift="drifted", health="missing"))
    assert set(found) == {("app/blog", "held"), ("app/blog", "drifted"), ("app/blog", "missing")}


def test_a_job_is_as_its_last_run() -> None:
    job = app("report", job=Job("0 3 * * *"))
    runs = Runs({"report": (
        Run("report", 3, "schedule", "r", 5.0, state="skipped"),
        Run("report", 2, "schedule", "r", 4.0, state="failed", exit_code=3, ended_at=5.0),
    )})  # fmt: skip
    found = look(
        replace(WELL, app="report", health="degraded"), desired=Desired("c" * 40, apps={"report": job}),
        observed=Observed(runs=runs),
    )  # fmt: skip
    assert set(found) == {("app/report", "failed")}
    assert "run 2 failed with exit code 3" in found["app/report", "failed"].reason


def test_a_backup_that_failed_until_one_succeeds() -> None:
    volume = VolumeId("blog", 0, "data")
    bad = VolumeRun("1", "backup", volume, "hel1", "failed", "due", 1.0, volume, ended_at=2.0, message="no space")
    good = replace(bad, id="2", state="done", asked_at=3.0, ended_at=4.0)
    assert set(look(observed=Observed(volumes=VolumeFacts(runs=(bad,))))) == {("volume/blog/0/data", "failed")}
    assert not look(observed=Observed(volumes=VolumeFacts(runs=(bad, good))))


def test_a_commit_that_failed_is_explained_by_what_is_held() -> None:
    found = look(replace(WELL, sync="held"), commit="failed")
    assert found["commit/" + "c" * 12, "failed"].because == {"app/blog"}
    assert look(commit="applied")["commit/" + "c" * 12, "applied"].once


def test_many_silent_nodes_are_one_trouble_of_our_own_network() -> None:
    nodes = tuple(NodeView(name, "suspect", OWN_NETWORK) for name in ("a", "b"))
    found = look(nodes=nodes)
    assert "a, b fell silent at once" in found[NETWORK, "unavailable"].reason
    assert all(NETWORK in found[f"node/{name}", "suspect"].because for name in "ab")


def test_what_is_wrong_with_the_repository() -> None:
    assert unreadable("no route").state == "failed"
    assert refused("d" * 40, "apps/a.yaml:1:1: imag").reason == "refused: apps/a.yaml:1:1: imag"


def test_an_account_of_which_little_is_left() -> None:
    full, fine = Quota("render1", "hours", 740.0, 750.0, 900.0, 1.0), Quota("render1", "services", 1.0, 1.0, 1.0)
    found = look(nodes=(NodeView("render1", "healthy", quotas=(full, fine)),))
    assert set(found) == {("node/render1", "quota")}
    assert found["node/render1", "quota"].reason == full.warning
