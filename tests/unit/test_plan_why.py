"""``plan --why``: what it says of an app with volumes is where its data is."""

from __future__ import annotations

from dataclasses import replace

from automator67.engine.desired import Volume
from automator67.engine.plan.planner import plan, why
from tests.support.world import World, app, desired

PINNED = app(volumes=(Volume("data", "/data"),))


def test_an_app_goes_where_its_volume_is_and_nowhere_else() -> None:
    wanted = desired(PINNED, nodes=3)
    for home in ("n0", "n1", "n2"):
        world = World.of(3)
        world.nodes[home] = replace(world.nodes[home], volumes=frozenset({("blog", 0)}))
        [decision] = why(wanted, world.observed(), PINNED)
        assert decision.node == home
        assert [s.node for s in decision.scores] == [home]
        assert {(r.node, r.reason) for r in decision.refusals} == {
            (n, f"its volume is on {home}") for n in world.nodes if n != home
        }
        [start] = plan(wanted, world.observed(), world.now).actions
        assert start.node == home, "the plan does what is said"


def test_an_app_waits_for_the_node_that_holds_its_volume() -> None:
    world = World.of(2)
    world.nodes["n1"] = replace(world.nodes["n1"], volumes=frozenset({("blog", 0)}), state="unavailable")
    wanted = desired(PINNED)
    planned = plan(wanted, world.observed(), world.now)
    assert not planned.actions
    assert "n1" in planned.blocked[0].reason
    [decision] = why(wanted, world.observed(), PINNED)
    assert decision.node is None


def test_an_app_without_volumes_is_free() -> None:
    world = World.of(2)
    world.nodes["n1"] = replace(world.nodes["n1"], volumes=frozenset({("blog", 0)}))
    [decision] = why(desired(app()), world.observed(), app())
    assert len(decision.scores) == 2
