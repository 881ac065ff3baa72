"""What a pull request would do, as a decision over plain data."""

from __future__ import annotations

from dataclasses import replace

from automator67.engine.plan.planner import plan
from automator67.engine.pull_plan import Proposed, proposed
from automator67.engine.settings import Settings
from tests.support.world import World, app, desired

APPS = [app(f"a{n}") for n in range(6)]


def _removal(*, fork: bool) -> Proposed:
    """Everything goes, and the limit that would stop that goes with it."""
    world = World.of(2)
    base = desired(*APPS, deletions=3)
    for _ in range(10):
        world.apply(plan(base, world.observed(), world.now), base)
        world.converge()
        world.now += 5
    head = replace(desired(deletions=100, commit="c2"), settings=Settings(max_deletions=100, document={"limits": 100}))
    return proposed(base, head, world.observed(), world.now, fork=fork, problems=())


def test_a_stranger_cannot_lift_the_limit_that_stops_him() -> None:
    own, strange = _removal(fork=False), _removal(fork=True)
    assert own.policy
    assert strange.policy
    assert own.plan is not None
    assert strange.plan is not None
    assert not [a for a in own.plan.actions if "confirm" in a.waits]
    assert [a for a in strange.plan.actions if "confirm" in a.waits]


def test_what_the_branch_has_still_to_do_is_counted_and_not_shown() -> None:
    base, head = desired(app("old")), desired(app("old"), app("new"), commit="c2")
    found = proposed(base, head, World.of(2).observed(), 1000.0, fork=False, problems=())
    assert found.plan is not None
    assert [c.resource for c in found.plan.changes] == ["app/new"]
    assert {a.resource for a in found.plan.actions} == {"app/new"}
    assert found.waiting == 1
    assert found.verdict == (True, "1 to create")


def test_a_node_that_goes_may_move_any_app() -> None:
    found = proposed(desired(app("old")), desired(app("old"), nodes=1, commit="c2"), World.of(1).observed(), 1000.0,
                     fork=False, problems=())  # fmt: skip
    assert [c.resource for c in found.files] == ["node/n1"]
    assert found.plan is not None
    assert [c.resource for c in found.plan.changes] == ["app/old"]
