"""An exclusive app never runs twice, whatever nodes, commits and agents do; and it runs again once it can."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.copies import FENCE_MARGIN
from automator67.engine.plan.planner import plan
from tests.property.test_planner import settle
from tests.support.world import World, app, desired

LEASE = 150.0
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["lose", "regain", "push", "drain", "wait", "pass", "converge"]),
        st.integers(0, 2),
        st.sampled_from([0.1, 3.0, 40.0, LEASE + FENCE_MARGIN + 1]),
    ),
    max_size=40,
)


class Fenced(World):
    """Nodes that are lost keep what runs until their lease is over, and not a second longer."""

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for place in list(self.running):
            view = self.nodes[place[1]]
            if view.state == "unavailable" and self.now >= view.lease_until:
                del self.running[place]

    def hear(self) -> None:
        for name, view in self.nodes.items():
            if view.state != "unavailable":
                self.nodes[name] = replace(view, lease_until=self.now + LEASE)


@given(STEPS)
def test_never_two_copies(steps: list[tuple[str, int, float]]) -> None:
    world = Fenced.of(3)
    version, drained = 1, -1
    for verb, number, seconds in steps:
        name = f"n{number}"
        world.hear()
        if verb == "lose":
            world.lose(name)
        elif verb == "regain":
            world.regain(name)
            world.hear()
        elif verb == "push":
            version += 1
        elif verb == "drain":
            drained = number
        elif verb == "wait":
            world.advance(seconds)
        elif verb == "converge":
            world.converge(name)
        wanted = desired(app("only", str(version), exclusive=True), nodes=3, commit=f"c{version}")
        nodes = {n: replace(d, drain=n == f"n{drained}") for n, d in wanted.nodes.items()}
        wanted = replace(wanted, nodes=nodes)
        world.apply(plan(wanted, world.observed(), world.now), wanted)
        assert len(world.running) <= 1
        assert len({p[1] for p, a in world.assignments.items() if a.want == "run"} & set(alive(world))) <= 1
    for name in world.nodes:
        world.regain(name)
    world.hear()
    settle(world, wanted if steps else desired(app("only", exclusive=True), nodes=3), 60)
    assert len(world.running) == 1


def alive(world: World) -> list[str]:
    return [n for n, v in world.nodes.items() if v.state != "unavailable"]


def test_it_moves_when_its_node_must_have_stopped_it() -> None:
    world, wanted = Fenced.of(2), desired(app("only", exclusive=True), nodes=2)
    world.hear()
    settle(world, wanted)
    home = next(iter(world.running))[1]
    world.lose(home)
    world.advance(LEASE - 10)
    early = plan(wanted, world.observed(), world.now)
    assert not [a for a in early.actions if a.ready]
    assert "must not run twice" in early.blocked[0].reason
    assert early.wake_at == world.nodes[home].lease_until + FENCE_MARGIN
    world.advance(early.wake_at - world.now)
    late = plan(wanted, world.observed(), world.now)
    assert {(a.verb, a.node) for a in late.actions if a.ready} == {
        ("stop", home),
        ("start", "n1" if home == "n0" else "n0"),
    }


def test_a_drained_node_lets_go_first() -> None:
    world, wanted = Fenced.of(2), desired(app("only", exclusive=True), nodes=2)
    world.hear()
    settle(world, wanted)
    home = next(iter(world.running))[1]
    nodes = {n: replace(d, drain=n == home) for n, d in wanted.nodes.items()}
    first = plan(replace(wanted, nodes=nodes), world.observed(), world.now)
    assert [(a.verb, a.node) for a in first.actions if a.ready] == [("stop", home)]
    assert any("to be gone" in a.waits for a in first.actions)
