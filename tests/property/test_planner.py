"""Whatever happens to nodes, commits and apps: plans converge, never take too much away, and then stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.desired import Desired
from automator67.engine.plan.planner import plan
from tests.support.world import World, app, desired

versions = st.integers(1, 3)
replicas = st.integers(1, 4)


def settle(world: World, wanted: Desired, steps: int = 60) -> None:
    """Let engine and agents work until nothing is left to do."""
    for _ in range(steps):
        done = plan(wanted, world.observed(), world.now)
        world.apply(done, wanted)
        world.converge()
        world.now += 1.0
        leaving = any(a.want != "run" for a in world.assignments.values())
        if not done.actions and not leaving and len(done.complete) == len(wanted.apps):
            return
    raise AssertionError(f"did not converge: {plan(wanted, world.observed(), world.now)}")


@given(st.lists(st.tuples(versions, replicas), min_size=1, max_size=5), st.integers(1, 4))
def test_any_sequence_of_commits_converges_to_exactly_what_is_wanted(
    commits: Sequence[tuple[int, int]], n: int
) -> None:
    world = World.of(n)
    for number, (version, count) in enumerate(commits):
        wanted = desired(app(version=str(version), replicas=count), nodes=n, commit=f"c{number}")
        settle(world, wanted)
        a = wanted.apps["blog"]
        assert sorted((i.slot, i.rev) for i in world.running.values()) == [(s, a.rev) for s in range(count)]
        assert plan(wanted, world.observed(), world.now).empty


@given(replicas, replicas, st.data())
def test_an_update_never_takes_a_healthy_replica_away_too_early(before: int, after: int, data: st.DataObject) -> None:
    world = World.of(3)
    port = data.draw(st.sampled_from([None, 80]))
    settle(world, desired(app(version="1", replicas=before, port=port, domains=("web.test",)), nodes=3))
    wanted = desired(app(version="2", replicas=after, port=port, domains=("web.test",)), nodes=3, commit="c2")
    floor = min(before, after)
    for _ in range(200):
        done = plan(wanted, world.observed(), world.now)
        world.apply(done, wanted)
        world.converge(data.draw(st.sampled_from(sorted(world.nodes))))
        world.now += data.draw(st.sampled_from([0.1, 1.0, 3.0]))
        assert world.serving("blog") >= floor
        if not done.actions:
            break
    settle(world, wanted)


@given(replicas, st.integers(2, 4), st.data())
def test_a_lost_node_moves_only_its_own_replicas(count: int, n: int, data: st.DataObject) -> None:
    world = World.of(n)
    wanted = desired(app(replicas=count), nodes=n)
    settle(world, wanted)
    before = set(world.running)
    lost = data.draw(st.sampled_from(sorted(world.nodes)))
    world.lose(lost)
    settled = {p for p in before if p[1] != lost}
    for _ in range(10):
        world.apply(plan(wanted, world.observed(), world.now), wanted)
        world.converge()
        world.now += 1
    assert settled <= set(world.running), "replicas elsewhere stay where they are"
    assert world.serving("blog") == count
    world.regain(lost)
    settle(world, wanted)
    assert len(world.running) == count, "the stale copies of the returned node are gone, the others stay"
    assert settled <= set(world.running)


@given(st.integers(1, 3))
def test_a_node_that_joins_moves_nothing(count: int) -> None:
    world = World.of(2)
    settle(world, desired(app(replicas=count), nodes=2))
    before = set(world.running)
    world.nodes["n2"] = World.of(3).nodes["n2"]
    settle(world, desired(app(replicas=count), nodes=3))
    assert set(world.running) == before


def test_a_bad_revision_goes_back_and_is_held_until_a_commit_touches_it() -> None:
    world = World.of(2)
    first = desired(app(version="1", replicas=2), commit="c1")
    settle(world, first)
    bad = desired(app(version="2", replicas=2), commit="c2")
    world.broken = lambda i: i.rev == bad.apps["blog"].rev
    for _ in range(90):
        world.apply(plan(bad, world.observed(), world.now), bad)
        world.converge()
        world.now += 1
        assert world.serving("blog") == 2
    assert {i.rev for i in world.running.values()} == {first.apps["blog"].rev}
    held = plan(bad, world.observed(), world.now)
    assert held.actions == ()
    assert "held:" in held.notes["app/blog"]
    assert "exit code 1" in held.notes["app/blog"]
    good = desired(app(version="3", replicas=2), commit="c3")
    settle(world, good)
    assert {i.rev for i in world.running.values()} == {good.apps["blog"].rev}
    assert world.holds == {}


def test_a_new_commit_takes_over_a_rollout_that_waits() -> None:
    world = World.of(2)
    settle(world, desired(app(version="1")))
    stuck = desired(app(version="2"), commit="c2")
    world.broken = lambda i: i.rev == stuck.apps["blog"].rev
    world.apply(plan(stuck, world.observed(), world.now), stuck)
    world.converge()
    fixed = desired(app(version="3"), commit="c3")
    steps = [a for a in plan(fixed, world.observed(), world.now).actions if a.ready]
    assert any(a.verb == "start" and a.rev == fixed.apps["blog"].rev for a in steps), "at once, without waiting"
    assert any(a.verb == "stop" and a.rev == stuck.apps["blog"].rev for a in steps)
    settle(world, fixed)


def test_removal_within_the_budget_prunes_dependants_first() -> None:
    world = World.of(2)
    both = desired(app("db"), replace(app("web"), depends_on=("db",)))
    settle(world, both)
    empty = desired(commit="c2")
    steps = plan(empty, world.observed(), world.now).actions
    assert [a.resource for a in steps if a.ready] == ["app/web"]
    settle(world, empty)
    assert world.running == {}
    assert world.deployed == {}


def test_removal_beyond_the_budget_waits_for_a_person() -> None:
    world = World.of(2)
    settle(world, desired(*(app(f"a{i}") for i in range(5))))
    less = desired(app("a0"), commit="c2")
    stopped = plan(less, world.observed(), world.now)
    assert not any(a.ready for a in stopped.actions)
    assert "removes 4 apps and limits.deletions is 3" in stopped.actions[0].waits
    confirmed = replace(world.observed(), confirmed=frozenset({"c2"}))
    assert sum(a.ready for a in plan(less, confirmed, world.now).actions) == 4


def test_dependencies_start_first() -> None:
    world = World.of(2)
    wanted = desired(app("db"), replace(app("web"), depends_on=("db",)))
    first = plan(wanted, world.observed(), world.now)
    assert [a.resource for a in first.actions if a.ready] == ["app/db"]
    assert next(a for a in first.actions if a.resource == "app/web").waits == "waits for app/db to be healthy"
    settle(world, wanted)


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_the_files_does_not_matter(order: Sequence[str]) -> None:
    world = World.of(3)
    reference = plan(desired(*(app(n, replicas=2) for n in "abcd"), nodes=3), world.observed(), world.now)
    shuffled = plan(desired(*(app(n, replicas=2) for n in order), nodes=3), world.observed(), world.now)
    assert shuffled == reference
