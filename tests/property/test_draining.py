"""Copies in traffic are never stopped by our own act, and enough of them always serve."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.desired import App, Update, Volume
from automator67.engine.plan.planner import plan
from tests.property.test_planner import settle
from tests.support.world import World, app, desired


def web(version: str, **keys: object) -> App:
    """Return an app that serves traffic."""
    update = Update(healthy_for=2.0, deadline=60.0, max_extra=int(str(keys.pop("max_extra", 1))))
    return app("web", version, port=80, domains=("web.test",), update=update, **keys)


@given(st.integers(1, 4), st.integers(0, 2), st.booleans(), st.data())
def test_copies_leave_the_traffic_before_they_stop(n: int, extra: int, pinned: bool, data: st.DataObject) -> None:
    volumes = (Volume("data", "/data"),) if pinned else ()
    versions = [web(v, replicas=n, max_extra=extra, volumes=volumes) for v in "123"]
    world = World.of(3)
    settle(world, desired(versions[0], nodes=3))
    floor = n - 1 if pinned or extra == 0 else n
    wanted = desired(versions[1], nodes=3, commit="c1")
    for turn in range(200):
        if data.draw(st.integers(0, 15)) == 0:
            wanted = desired(data.draw(st.sampled_from(versions)), nodes=3, commit=f"c{turn + 2}")
        done = plan(wanted, world.observed(), world.now)
        for a in done.actions:
            assert not (a.ready and a.verb == "stop" and world.in_traffic((a.instance, a.node))), a
        world.apply(done, wanted)
        assert world.serving("web") >= floor
        world.converge(data.draw(st.sampled_from(sorted(world.nodes))))
        world.now += data.draw(st.sampled_from([0.1, 1.0, 3.0]))
        if not done.actions:
            break
    settle(world, wanted, 150)


def test_a_removed_app_drains_first() -> None:
    world = World.of(1)
    settle(world, desired(web("1"), nodes=1))
    empty = desired(nodes=1, commit="c2")
    first = plan(empty, world.observed(), world.now)
    assert [a.verb for a in first.actions if a.ready] == ["drain"]
    world.apply(first, empty)
    world.converge()
    assert world.running
    assert plan(empty, world.observed(), world.now).wake_at == world.now + 5.0
    settle(world, empty)
    assert not world.running


def test_a_copy_that_is_wanted_again_takes_requests_again() -> None:
    world = World.of(1)
    first, second = web("1"), web("2")
    settle(world, desired(first, nodes=1))
    new = desired(second, nodes=1, commit="c2")
    for _ in range(5):
        world.apply(plan(new, world.observed(), world.now), new)
        world.converge()
        world.now += 1
    before = {a.rev: a for a in world.assignments.values()}
    assert before[first.rev].want == "drain"
    back = desired(first, nodes=1, commit="c3")
    taken = world.apply(plan(back, world.observed(), world.now), back)
    assert ("resume", first.rev) in [(a.verb, a.rev) for a in taken]
    assert {a.rev: a for a in world.assignments.values()}[first.rev] == replace(before[first.rev], want="run",
                                                                              draining_since=0.0)  # fmt: skip
    settle(world, back)


def test_what_serves_nobody_stops_at_once() -> None:
    world = World.of(1)
    world.broken = lambda _: True
    first = desired(web("1"), nodes=1)
    world.apply(plan(first, world.observed(), world.now), first)
    world.converge()
    new = desired(web("2"), nodes=1, commit="c2")
    assert "stop" in [a.verb for a in plan(new, world.observed(), world.now).actions if a.ready]
