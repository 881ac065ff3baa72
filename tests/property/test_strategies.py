"""Blue-green and canary updates: who takes requests at every moment, promotion, and the way back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.apps.beside import tried_copies
from automator67.engine.apps.traffic import MOST_WEIGHT, Share, traffic, weights
from automator67.engine.copies import join
from automator67.engine.desired import App, Desired, Strategy, Update
from automator67.engine.observed import Canary
from automator67.engine.plan.planner import plan
from tests.property.test_planner import settle
from tests.support.world import World, app, desired

DEADLINE = 60.0


def web(version: str, strategy: Strategy, replicas: int = 2, **update: object) -> App:
    """Return an app that serves traffic and is updated by a strategy."""
    keys = {"healthy_for": 2.0, "deadline": DEADLINE, "promote_after": 20.0, "share": 25} | update
    return app("web", version, port=80, domains=("web.test",), replicas=replicas, update=Update(strategy, **keys))  # type: ignore[arg-type]


def shares(world: World, wanted: Desired) -> dict[str, int]:
    """Return by revision how much of the traffic it has now."""
    found: dict[str, int] = {}
    for s in routed(world, wanted):
        rev = world.assignments[s.instance, s.node].rev
        found[rev] = found.get(rev, 0) + s.weight
    return found


def routed(world: World, wanted: Desired) -> tuple[Share, ...]:
    return traffic(wanted.apps["web"], join(world.observed()).get("web", []), world.canaries.get("web"))


def turn(world: World, wanted: Desired, seconds: float = 1.0) -> None:
    """Let engine and agents do what they can, and time pass."""
    world.apply(plan(wanted, world.observed(), world.now), wanted)
    world.converge()
    world.now += seconds


@given(st.integers(1, 4), st.data())
def test_blue_green_switches_all_at_once_when_all_are_ready(replicas: int, data: st.DataObject) -> None:
    old, new = web("1", "blue-green", replicas), web("2", "blue-green", replicas)
    world = World.of(3)
    settle(world, desired(old, nodes=3))
    wanted = desired(new, nodes=3, commit="c2")
    for _ in range(300):
        done = plan(wanted, world.observed(), world.now)
        world.apply(done, wanted)
        now = shares(world, wanted)
        assert now in ({old.rev: replicas}, {new.rev: replicas}), "never both, never less"
        world.converge(data.draw(st.sampled_from(sorted(world.nodes))))
        world.now += data.draw(st.sampled_from([0.1, 1.0, 3.0]))
        if not done.actions:
            break
    settle(world, wanted)
    assert shares(world, wanted) == {new.rev: replicas}


def test_canary_gets_its_share_when_it_is_ready_and_all_after_its_time() -> None:
    old, new = web("1", "canary", 4), web("2", "canary", 4)
    world = World.of(3)
    settle(world, desired(old, nodes=3))
    wanted = desired(new, nodes=3, commit="c2")
    turn(world, wanted)
    assert [i.rev for i in world.running.values()].count(new.rev) == 1
    assert shares(world, wanted) == {old.rev: 4}, "not before its gate"
    for _ in range(4):
        turn(world, wanted)
    assert shares(world, wanted) == {old.rev: 12, new.rev: 4}
    waiting = plan(wanted, world.observed(), world.now)
    assert waiting.wake_at == world.canaries["web"].admitted_at + 20.0
    assert {a.verb for a in waiting.actions} == {"promote", "start", "stop"}
    settle(world, wanted, 120)
    assert shares(world, wanted) == {new.rev: 4}
    assert world.good["web"].rev == new.rev


def test_canary_waits_for_a_person_where_no_time_is_given() -> None:
    old, new = web("1", "canary", promote_after=None), web("2", "canary", promote_after=None)
    world = World.of(3)
    settle(world, desired(old, nodes=3))
    wanted = desired(new, nodes=3, commit="c2")
    for _ in range(500):
        turn(world, wanted)
    assert {i.rev for i in world.running.values()} == {old.rev, new.rev}
    promote = next(a for a in plan(wanted, world.observed(), world.now).actions if a.verb == "promote")
    assert "`automator67 promote web`" in promote.waits
    world.canaries["web"] = replace(world.canaries["web"], promoted_at=world.now)
    settle(world, wanted)
    assert shares(world, wanted) == {new.rev: 2}


def test_old_copies_are_kept_up_while_a_canary_is_tried() -> None:
    old, new = web("1", "canary", promote_after=None), web("2", "canary", promote_after=None)
    world = World.of(3)
    settle(world, desired(old, nodes=3))
    wanted = desired(new, nodes=3, commit="c2")
    for _ in range(6):
        turn(world, wanted)
    world.lose(next(n for (_, n), i in world.running.items() if i.rev == old.rev))
    for _ in range(6):
        turn(world, wanted)
    alive = [i.rev for (_, n), i in world.running.items() if world.nodes[n].state == "healthy"]
    assert alive.count(old.rev) == 2
    assert new.rev in alive


def test_a_canary_that_falls_after_its_gate_is_held() -> None:
    old, new = web("1", "canary", promote_after=None), web("2", "canary", promote_after=None)
    world = World.of(3)
    settle(world, desired(old, nodes=3))
    wanted = desired(new, nodes=3, commit="c2")
    for _ in range(200):
        turn(world, wanted)
    place = next(p for p, i in world.running.items() if i.rev == new.rev)
    world.running[place] = replace(world.running[place], phase="exited", health="unhealthy", healthy_since=0.0,
                                   detail="exit code 3")  # fmt: skip
    assert shares(world, wanted) == {old.rev: 2}
    turn(world, wanted, 0.0)
    assert "did not stay healthy with 25 % of the requests: exit code 3" in world.holds["web"].reason
    turn(world, wanted)
    assert {i.rev for i in world.running.values()} == {old.rev}


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
@given(replicas=st.integers(1, 4), extra=st.integers(0, 2))
def test_a_revision_that_is_never_healthy_is_back_in_time(strategy: Strategy, replicas: int, extra: int) -> None:
    old, new = (web(v, strategy, replicas, max_extra=extra) for v in "12")
    world = World.of(3)
    settle(world, desired(old, nodes=3))
    wanted = desired(new, nodes=3, commit="c2")
    world.broken = lambda i: i.rev == new.rev
    began = world.now
    turn(world, wanted, 0.0)
    first = next((a.since for a in world.assignments.values() if a.rev == new.rev), None)
    floor = replicas - 1 if extra == 0 and strategy == "rolling" else replicas
    while not (world.holds and {i.rev for i in world.running.values()} == {old.rev}):
        turn(world, wanted, 0.5)
        first = first or next((a.since for a in world.assignments.values() if a.rev == new.rev), None)
        assert world.serving("web") >= floor
        assert set(shares(world, wanted)) <= {old.rev}
        assert world.now < began + DEADLINE + 20
    assert first is not None
    assert world.now <= first + DEADLINE + 2
    settle_back = plan(wanted, world.observed(), world.now)
    assert not [a for a in settle_back.actions if a.rev == new.rev]


HAPPENINGS = st.lists(
    st.tuples(st.sampled_from(["commit", "lose", "regain", "sick", "promote", "restart", "pass"]), st.integers(0, 5)),
    max_size=25,
)


@given(st.sampled_from(["rolling", "blue-green", "canary"]), st.integers(1, 3), st.booleans(), HAPPENINGS)
def test_any_history_ends_with_what_the_last_commit_asks(
    strategy: Strategy, replicas: int, first_bad: bool, happenings: list[tuple[str, int]]
) -> None:
    """Commits in the middle, sick revisions, lost nodes, promotions, engines that restart: traffic never goes nowhere
    by our own act, and at the end the last good revision runs, or the last commit's."""
    versions = [web(str(v), strategy, replicas) for v in range(4)]
    world = World.of(3)
    settle(world, desired(versions[0], nodes=3))
    sick: set[str] = {versions[1].rev} if first_bad else set()
    world.broken = lambda i: i.rev in sick
    wanted = desired(versions[0], nodes=3)
    for number, (what, n) in enumerate(happenings):
        if what == "commit":
            wanted = desired(versions[n % 4], nodes=3, commit=f"c{number + 2}")
        elif what == "lose" and all(v.state == "healthy" for v in world.nodes.values()):
            world.lose(f"n{n % 3}")
        elif what == "regain":
            for name in world.nodes:
                world.regain(name)
        elif what == "sick":
            sick ^= {versions[1 + n % 3].rev}
        elif what == "promote" and "web" in world.canaries:
            world.canaries["web"] = replace(world.canaries["web"], promoted_at=world.now)
        for again in range(n + 1):
            # An engine that has just begun knows what it assigned, and nothing of what runs.
            known = not (what == "restart" and again == 0)
            world.nodes = {name: replace(v, reported=known) for name, v in world.nodes.items()}
            done = plan(wanted, world.observed(), world.now)
            before = bool(routed(world, wanted))
            for a in done.actions:
                assert not (a.ready and a.verb == "stop" and world.in_traffic((a.instance, a.node))), a
            world.apply(done, wanted)
            assert bool(routed(world, wanted)) >= before
            world.converge()
            world.now += 3.0
    world.nodes = {name: replace(v, state="healthy", reported=True) for name, v in world.nodes.items()}
    for _ in range(150):
        turn(world, wanted, 2.0)
    revs = {i.rev for i in world.running.values()}
    asked = wanted.apps["web"].rev
    assert len(world.running) == replicas
    assert revs == {asked} if not world.holds else revs == {world.good["web"].rev}
    assert sick or not world.holds or revs != {asked}
    assert not [a for a in plan(wanted, world.observed(), world.now).actions if a.ready]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 99))
def test_weights_are_small_and_close_to_the_share(new: int, old: int, share: int) -> None:
    heavy, light = weights(new, old, share)
    total = heavy * new + light * old
    assert heavy >= 1
    assert light >= 1
    assert total <= MOST_WEIGHT
    best = min(abs(a * new / (a * new + b * old) - share / 100)
               for b in range(1, 100) for a in range(1, 100) if a * new + b * old <= MOST_WEIGHT)  # fmt: skip
    assert abs(heavy * new / total - share / 100) <= best + 1e-9


def test_weights_of_common_cases() -> None:
    assert weights(1, 9, 10) == (1, 1)
    assert weights(1, 1, 10) == (1, 9)
    assert weights(80, 80, 10) == (1, 1), "more copies than weight"
    assert tried_copies(web("1", "canary", 3, share=34)) == 2
    assert tried_copies(web("1", "canary", 1, share=1)) == 1


def test_what_is_about_to_stop_is_better_than_nothing() -> None:
    a = web("1", "rolling", 1)
    world = World.of(1)
    settle(world, desired(a, nodes=1))
    place = next(iter(world.assignments))
    world.assignments[place] = replace(world.assignments[place], want="drain", draining_since=world.now)
    assert [s.instance for s in routed(world, desired(a, nodes=1))] == [place[0]]
    assert Canary("web", "x", 1.0).promoted_at == 0
