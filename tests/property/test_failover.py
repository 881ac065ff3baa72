"""Whatever is true of nodes, leases and restores: an app with volumes never starts where its data is not, nor twice."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.copies import FENCE_MARGIN
from automator67.engine.observed import Assignment, Instance, NodeView, Observed
from automator67.engine.plan.planner import plan
from automator67.engine.volumes import Run, Snapshot, VolumeFacts
from tests.support.world import desired, node_view
from tests.unit.test_failover import COPY, DB, NOW, V, world

LOST = st.sampled_from(["unavailable", "unavailable", "unavailable", "revoked", "suspect", "healthy"])
STATES = st.sampled_from(["healthy", "healthy", "healthy", "suspect", "failing", "unavailable", "recovering"])
OFTEN = st.sampled_from([True, True, True, False])
NODES = ("n0", "n1", "n2")


@st.composite
def views(draw: st.DrawFn, name: str) -> NodeView:
    """A node in any state; the first is the home of the volume, and mostly lost."""
    reported = draw(OFTEN)
    runs = reported and draw(st.booleans()) and name == "n0"
    instance = Instance(COPY, "db", 0, DB.rev, 1, name, "running", "none", 1.0, 1.0)
    return replace(
        node_view(name),
        state=draw(LOST if name == "n0" else STATES),
        reported=reported,
        instances=(instance,) if runs else (),
        volumes=frozenset({("db", 0)}) if draw(st.booleans()) else frozenset(),
        tools=frozenset({"restic"}) if draw(OFTEN) else frozenset(),
        lease_until=NOW + draw(st.sampled_from([-1000.0, -FENCE_MARGIN, -1.0, 30.0])),
    )


@st.composite
def presents(draw: st.DrawFn) -> Observed:
    found = {name: draw(views(name)) for name in NODES}
    home = "n0"
    runs = tuple(
        Run(f"r{n}", "failover", V, name, draw(st.sampled_from(["wanted", "done"])), "", NOW - 50, V, "snap", 1.0, 2.0)
        for n, name in enumerate(draw(st.lists(st.sampled_from(NODES), unique=True, max_size=2)))
        if name != home
    )
    where = ["n0"] * draw(OFTEN) + draw(st.lists(st.sampled_from(NODES[1:]), unique=True, max_size=1))
    wants = st.sampled_from(["run", "run", "drain", "stop"])
    at = tuple(Assignment(COPY, "db", 0, DB.rev, name, n + 1, draw(wants), 1.0, "c1") for n, name in enumerate(where))
    snapshots = {V: (Snapshot("snap", 1.0),)} if draw(OFTEN) else {}
    facts = VolumeFacts({("db", 0): home}, snapshots, runs)
    return replace(world(found["n0"], *list(found.values())[1:], facts=facts), assignments=at)


@given(presents())
def test_it_never_starts_where_its_data_is_not_or_while_another_copy_may_run(observed: Observed) -> None:
    planned = plan(desired(DB, nodes=3), observed, NOW)
    home = observed.volumes.homes["db", 0]
    done = {r.node for r in observed.volumes.runs if r.state == "done"}
    for a in planned.actions:
        if a.verb == "start" and a.ready and a.node != home:
            view, at_home = observed.nodes[home], [x for x in observed.assignments if x.node == home]
            empty = view.reported and ("db", 0) not in view.volumes and not at_home and not view.instances
            lost = view.state in ("unavailable", "revoked") and view.lease_until + FENCE_MARGIN <= NOW
            assert empty or (a.node in done and lost)
        if a.verb == "restore":
            assert a.node != home
            assert observed.nodes[a.node].state == "healthy"
            assert observed.nodes[home].lease_until + FENCE_MARGIN <= NOW
            assert observed.volumes.latest(V) is not None
        if a.verb == "aside":
            assert a.node != home
            assert not any(i.app == "db" for i in observed.nodes[a.node].instances)
    starts = [a.node for a in planned.actions if a.verb == "start" and a.ready]
    assert len(starts) <= 1


@given(presents())
def test_a_plan_of_a_lost_node_says_what_it_does_or_why_it_does_nothing(observed: Observed) -> None:
    planned = plan(desired(DB, nodes=3), observed, NOW)
    home = observed.volumes.homes["db", 0]
    running = [a for a in observed.assignments if a.want == "run" and a.node == home]
    if running and observed.nodes[home].state in ("unavailable", "revoked"):
        assert planned.actions or planned.blocked
