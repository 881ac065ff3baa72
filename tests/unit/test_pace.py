"""When nodes are lost: who starts first elsewhere, and how many at a time."""

from __future__ import annotations

from automator67.engine.plan.order import dependencies_first
from automator67.engine.plan.pace import LEAST, PATIENCE, PER_NODE
from automator67.engine.plan.planner import plan
from tests.property.test_planner import settle
from tests.support.world import World, app, desired


def started(world: World, wanted: object) -> list[str]:
    done = plan(wanted, world.observed(), world.now)  # type: ignore[arg-type]
    return [a.resource.removeprefix("app/") for a in done.actions if a.verb == "start" and a.ready]


def test_the_important_start_first_and_a_few_at_a_time() -> None:
    apps = [app(f"a{n:02}", priority=90 if n in (7, 11) else 50) for n in range(12)]
    world, wanted = World.of(2), desired(*apps, nodes=2)
    settle(world, wanted)
    home = [p for p in world.running if p[1] == "n0"]
    many = len(home)
    assert many > LEAST
    world.lose("n0")
    first = started(world, wanted)
    here = {p[0].split("-")[0] for p in home}
    assert len(first) == max(LEAST, PER_NODE)
    assert first[: len(here & {"a07", "a11"})] == sorted(here & {"a07", "a11"})
    world.apply(plan(wanted, world.observed(), world.now), wanted)
    assert started(world, wanted) == [], "none of them is healthy yet"
    world.now += PATIENCE
    assert len(started(world, wanted)) == min(LEAST, many - LEAST), "those that do not come up hold up nobody for long"
    for _ in range(20):
        world.apply(plan(wanted, world.observed(), world.now), wanted)
        world.converge()
        world.now += 1.0
    assert len({i.app for p, i in world.running.items() if p[1] == "n1"}) == 12


def test_what_the_important_need_comes_with_them() -> None:
    needs = {"a": [], "b": [], "shop": ["db"], "db": ["disk"], "disk": []}
    assert dependencies_first(needs) == ["a", "b", "disk", "db", "shop"]
    rank = {"a": 50, "b": 60, "shop": 90, "db": 50, "disk": 10}
    assert dependencies_first(needs, rank) == ["disk", "db", "shop", "b", "a"]
