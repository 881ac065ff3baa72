"""When and where an app with volumes goes on whose node is lost, as plans say it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automator67.engine.apps.revisions import to_spec
from automator67.engine.convert import app_of
from automator67.engine.copies import FENCE_MARGIN
from automator67.engine.desired import App, Origin
from automator67.engine.observed import Assignment, Instance, NodeView, Observed, Revision
from automator67.engine.plan.model import Plan
from automator67.engine.plan.planner import plan
from automator67.engine.volumes import Run, RunState, Snapshot, VolumeFacts, VolumeId
from tests.support.world import desired, node_view

V = VolumeId("db", 0, "data")
NOW = 10_000.0
ORIGIN = Origin("apps/db.yaml", "b")
WORDS = {"url": "s3://h/b", "access_key": {"secret": "a"}, "secret_key": {"secret": "s"}}
DOCUMENT = {
    "image": "db:1", "failover": "restore", "volumes": [{"name": "data", "path": "/d", "backup": WORDS}],
}  # fmt: skip
DB = app_of("db", DOCUMENT, ORIGIN)
COPY = f"db-0-{DB.rev}"


def view(name: str, *, state: str = "healthy", has: bool = False, runs: bool = False, restic: bool = True) -> NodeView:
    instances = (Instance(COPY, "db", 0, DB.rev, 1, name, "running", "none", 1.0, 1.0),) if runs else ()
    return replace(
        node_view(name), state=state, volumes=frozenset({("db", 0)} if has else ()), instances=instances,  # type: ignore[arg-type]
        tools=frozenset({"restic"} if restic else ()), lease_until=NOW - 100.0,
    )  # fmt: skip


def failover(state: RunState, node: str = "n1", message: str = "") -> Run:
    return Run("r1", "failover", V, node, state, "", NOW - 50, V, "snap", NOW - 50, NOW - 10, message=message)


def world(
    lost: NodeView, *others: NodeView, facts: VolumeFacts | None = None, app: App = DB, want: str = "run"
) -> Observed:
    good = Revision("db", app.rev, "c1", to_spec(app), 1.0, 1.0)
    default = VolumeFacts({("db", 0): "n0"}, {V: (Snapshot("snap", NOW - 500.0),)})
    at = Assignment(f"db-0-{app.rev}", "db", 0, app.rev, "n0", 1, want, 1.0, "c1")  # type: ignore[arg-type]
    return Observed({v.name: v for v in (lost, *others)}, (at,), deployed={"db": good}, last_good={"db": good},
                    volumes=facts or default)  # fmt: skip


def with_runs(*runs: Run, home: str = "n0") -> VolumeFacts:
    return VolumeFacts({("db", 0): home}, {V: (Snapshot("snap", NOW - 500.0),)}, runs)


def steps(planned: Plan) -> list[tuple[str, str, bool]]:
    return [(a.verb, a.node, a.ready) for a in planned.actions]


LOST = view("n0", state="unavailable", has=True, runs=True)


def test_its_volumes_are_restored_elsewhere_before_it_starts_there() -> None:
    planned = plan(desired(DB), world(LOST, view("n1")), NOW)
    assert steps(planned) == [("restore", "n1", True)]
    waiting = plan(desired(DB), world(LOST, view("n1"), facts=with_runs(failover("wanted", message="no route"))), NOW)
    assert steps(waiting) == [("restore", "n1", False)]
    assert "from snap: no route" in waiting.actions[0].waits
    done = plan(desired(DB), world(LOST, view("n1", has=True), facts=with_runs(failover("done"))), NOW)
    assert steps(done) == [("start", "n1", True)]
    assert done.actions[0].epoch == 2
    assert "its volumes were restored on n1" in done.actions[0].reason


def test_not_before_its_lease_is_over() -> None:
    lost = replace(LOST, lease_until=NOW - FENCE_MARGIN + 1.0)
    planned = plan(desired(DB), world(lost, view("n1")), NOW)
    assert planned.actions == ()
    assert "once its lease is over" in planned.blocked[0].reason
    assert planned.wake_at == NOW + 1.0
    assert steps(plan(desired(DB), world(lost, view("n1")), NOW + 1.0)) == [("restore", "n1", True)]


def test_not_when_its_revision_was_never_under_a_lease() -> None:
    before = app_of("db", {**DOCUMENT, "failover": "wait"}, ORIGIN)
    planned = plan(desired(DB), world(replace(LOST, instances=()), view("n1"), app=before), NOW)
    assert "nobody knows whether it has stopped" in planned.blocked[0].reason
    assert [a for a in planned.actions if a.verb == "restore"] == []


def test_not_without_a_snapshot_or_a_node_that_can() -> None:
    bare = VolumeFacts({("db", 0): "n0"})
    planned = plan(desired(DB), world(LOST, view("n1"), facts=bare), NOW)
    assert (planned.actions, len(planned.blocked)) == ((), 1)
    assert "volume data has no snapshot to restore elsewhere" in planned.blocked[0].reason
    planned = plan(desired(DB), world(LOST, view("n1", restic=False)), NOW)
    assert "no other node with restic can take it" in planned.blocked[0].reason


def test_a_node_that_comes_back_in_time_goes_on_and_what_was_restored_is_set_aside() -> None:
    back = view("n0", has=True, runs=True)
    other = view("n1", has=True)
    planned = plan(desired(DB), world(back, other, facts=with_runs(failover("done"))), NOW)
    assert steps(planned) == [("recall", "n1", True), ("aside", "n1", True)]
    assert steps(plan(desired(DB), world(back, other), NOW)) == [("aside", "n1", True)]
    assert plan(desired(DB), world(back, view("n1")), NOW).actions == ()


def test_a_node_that_comes_back_late_stops_its_copy_and_sets_its_volume_aside() -> None:
    moved = with_runs(home="n1")
    new = Assignment(COPY, "db", 0, DB.rev, "n1", 2, "run", NOW - 5, "c1")
    back, running = view("n0", has=True, runs=True), view("n1", has=True, runs=True)
    observed = world(back, running, facts=moved)
    observed = replace(observed, assignments=(*observed.assignments, new))
    assert steps(plan(desired(DB), observed, NOW)) == [("stop", "n0", True)]
    # While it is still lost, nothing else is to be done.
    lost = replace(observed, nodes={"n0": LOST, "n1": running})
    assert steps(plan(desired(DB), lost, NOW)) == [("stop", "n0", True)]
    gone = replace(observed, nodes={"n0": view("n0", has=True), "n1": running}, assignments=(new,))
    assert steps(plan(desired(DB), gone, NOW)) == [("aside", "n0", True)]


def test_a_restore_goes_on_elsewhere_when_its_node_is_lost_too() -> None:
    runs = with_runs(failover("wanted"))
    planned = plan(desired(DB, nodes=3), world(LOST, view("n1", state="unavailable"), view("n2"), facts=runs), NOW)
    assert steps(planned) == [("restore", "n2", True)]


@pytest.mark.parametrize("state", ["suspect", "healthy"])
def test_nothing_moves_while_its_node_is_there(state: str) -> None:
    here = view("n0", state=state, has=True, runs=True)
    assert plan(desired(DB), world(here, view("n1")), NOW).actions == ()


def test_failover_wait_waits() -> None:
    app = app_of("db", {**DOCUMENT, "failover": "wait"}, ORIGIN)
    planned = plan(desired(app), world(replace(LOST, instances=()), view("n1"), app=app), NOW)
    assert planned.actions == ()
    assert any("holds its volume and is unavailable" in b.reason for b in planned.blocked)
