"""Clouds of agents and swarms together: placement, rollouts, and what a place is asked to do, for any of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.capabilities import unfit
from automator67.engine.desired import App, Node, Origin, Update, Volume
from automator67.engine.nodes.placement import Ledger, explain, place
from automator67.engine.observed import Instance
from automator67.engine.places.converge import Shaped, converge, mark_of, same_attempt, units_of
from automator67.engine.places.protocol import Act, Opened, Seen, SeenUnit
from automator67.engine.places.report import drifts_of
from automator67.engine.places.swarm.spec import differences, service_spec
from automator67.engine.plan.planner import plan
from tests.support.world import World, app, desired, node_view
from tests.unit.test_places import message

KINDS = st.lists(st.sampled_from(["agent", "swarm"]), min_size=1, max_size=4)


def nodes_of(kinds: list[str]) -> dict[str, Node]:
    return {f"n{i}": Node(f"n{i}", Origin(f"nodes/n{i}.yaml", f"b{i}"), kind) for i, kind in enumerate(kinds)}


APPS = st.builds(
    lambda volumes, strategy, runtime, memory, replicas: app(
        volumes=(Volume("data", "/data"),) if volumes else (), update=Update(strategy=strategy), runtime=runtime,
        memory=memory * 2**20, replicas=replicas,
    ),
    st.booleans(), st.sampled_from(["rolling", "canary", "blue-green"]), st.sampled_from(["docker", "process"]),
    st.integers(6, 900), st.integers(1, 5),
)  # fmt: skip


@given(KINDS, st.lists(APPS, min_size=1, max_size=5))
def test_no_app_is_placed_where_it_does_not_fit_and_no_place_is_overfull(kinds: list[str], apps: list[App]) -> None:
    nodes = nodes_of(kinds)
    views = {name: node_view(name, 2**30) for name in nodes}
    ledger = Ledger(nodes, views)
    used = dict.fromkeys(nodes, 0)
    for n, wanted in enumerate(apps):
        named = replace(wanted, name=f"app{n}")
        for slot in range(named.replicas):
            decision = place(named, slot, ledger)
            assert decision == replace(explain(named, slot, ledger), scores=(), refusals=())
            if decision.node is None:
                fitting = [name for name, node in nodes.items() if not unfit(node.kind, named)]
                assert all(used[name] + named.memory > 2**30 - 250 * 2**20 for name in fitting if _cpu(ledger, name))
                continue
            assert not unfit(nodes[decision.node].kind, named)
            ledger.take(named, slot, decision.node)
            used[decision.node] += named.memory
    assert all(amount <= 2**30 - 250 * 2**20 for amount in used.values())


def _cpu(ledger: Ledger, name: str) -> bool:
    room = ledger._rooms[name]
    return room.promised_cpu + 0.1 <= 2 * room.cpu


@dataclass
class MixedWorld(World):
    """A world in which nodes of kind swarm replace one copy at a time, new before old, and go back by themselves."""

    swarms: set[str] = field(default_factory=set)
    tried: set[tuple[str, str, int]] = field(default_factory=set)

    def takes_requests(self, place: tuple[str, str]) -> bool:
        return place[1] in self.swarms or super().takes_requests(place)

    def converge(self, only: str | None = None) -> None:
        for name in self.nodes:
            if only is not None and name != only:
                continue
            if name in self.swarms:
                self._swarm(name)
            else:
                super().converge(name)

    def _swarm(self, name: str) -> None:
        if self.nodes[name].state != "healthy":
            return
        here = {p: a for p, a in self.assignments.items() if p[1] == name}
        wanted = {p: a for p, a in here.items() if a.want != "stop"}
        for slot in sorted({a.slot for a in here.values()}):
            mine = [a for a in wanted.values() if a.slot == slot]
            old = [p for p, i in self.running.items() if p[1] == name and i.slot == slot and p not in wanted]
            if not mine:
                for p in old:
                    del self.running[p]
                continue
            (a,) = mine
            at = (a.instance, name)
            if at not in self.running or self.running[at].phase == "failed":
                i = Instance(a.instance, a.app, a.slot, a.rev, a.epoch, name, "running", "healthy", self.now, self.now)
                if self.broken(i):
                    self.running[at] = replace(i, phase="failed", health="none", healthy_since=0.0, detail="went back")
                    continue
                self.running[at] = i
                break
            for p in old:
                del self.running[p]
        for p in [p for p, a in here.items() if a.want == "stop" and p not in self.running]:
            del self.assignments[p]


def mixed(kinds: list[str]) -> MixedWorld:
    world = MixedWorld({f"n{i}": node_view(f"n{i}") for i in range(len(kinds))})
    world.swarms = {f"n{i}" for i, kind in enumerate(kinds) if kind == "swarm"}
    return world


@given(KINDS, st.lists(st.tuples(st.sampled_from("12"), st.integers(1, 4)), min_size=1, max_size=4))
def test_any_sequence_of_commits_converges_and_never_serves_with_less(
    kinds: list[str], commits: list[tuple[str, int]]
) -> None:
    world, nodes = mixed(kinds), nodes_of(kinds)
    floor = 0
    for n, (version, replicas) in enumerate(commits):
        wanted = desired(app(version=version, replicas=replicas), nodes=nodes, commit=f"c{n}")
        for _ in range(80):
            done = plan(wanted, world.observed(), world.now)
            world.apply(done, wanted)
            world.converge()
            world.now += 1.0
            assert world.serving("blog") >= min(floor, replicas)
            if done.empty and done.complete and not any(a.want == "stop" for a in world.assignments.values()):
                break
        else:
            raise AssertionError(f"did not converge: {plan(wanted, world.observed(), world.now)}")
        rev = wanted.apps["blog"].rev
        assert sorted((i.slot, i.rev) for i in world.running.values()) == [(s, rev) for s in range(replicas)]
        floor = replicas


@given(KINDS, st.integers(1, 4), st.data())
def test_a_drained_place_hands_over_without_serving_less(kinds: list[str], replicas: int, data: st.DataObject) -> None:
    kinds = [*kinds, "swarm", "agent"]
    world, nodes = mixed(kinds), nodes_of(kinds)
    drained = data.draw(st.sampled_from(sorted(nodes)))
    floor = 0
    for commit, drain in (("c1", False), ("c2", True)):
        nodes[drained] = replace(nodes[drained], drain=drain)
        wanted = desired(app(replicas=replicas), nodes=nodes, commit=commit)
        for _ in range(80):
            world.apply(plan(wanted, world.observed(), world.now), wanted)
            world.converge()
            world.now += 1.0
            assert world.serving("blog") >= floor
        floor = replicas
    assert sorted(i.slot for i in world.running.values()) == list(range(replicas))
    assert drained not in {node for _, node in world.running}


@given(KINDS.filter(lambda kinds: "swarm" in kinds), st.integers(1, 4))
def test_a_bad_revision_goes_back_on_every_kind(kinds: list[str], replicas: int) -> None:
    world, nodes = mixed(kinds), nodes_of(kinds)

    def run(version: str, commit: str) -> Any:
        wanted = desired(app(version=version, replicas=replicas), nodes=nodes, commit=commit)
        for _ in range(150):
            world.apply(plan(wanted, world.observed(), world.now), wanted)
            world.converge()
            world.now += 1.0
            assert world.serving("blog") >= (replicas if commit != "c1" else 0)
        return wanted

    good = run("1", "c1").apps["blog"].rev
    bad = app(version="2", replicas=replicas).rev
    world.broken = lambda i: i.rev == bad
    run("2", "c2")
    assert world.holds["blog"].rev == bad
    assert sorted((i.slot, i.rev) for i in world.running.values()) == [(s, good) for s in range(replicas)]


# -- what a place is asked to do ------------------------------------------------------------------------------------

WANTED = st.dictionaries(
    st.sampled_from(["web", "api", "job"]),
    st.tuples(st.sampled_from(["aaaa", "bbbb"]), st.integers(1, 3), st.sets(st.integers(0, 3), min_size=1)),
    max_size=3,
)


def shaped(wanted: dict[str, tuple[str, int, set[int]]], seen: Seen) -> list[Shaped]:
    messages = [
        message(slot, rev, epoch, app=name) for name, (rev, epoch, slots) in wanted.items() for slot in sorted(slots)
    ]
    units = same_attempt(units_of(messages), seen)
    return [Shaped(u, service_spec("home", "n", u, Opened())) for u in units]


def carried_out(seen: Seen, act: Act) -> Seen:
    units = dict(seen.units)
    if act.verb == "remove":
        del units[act.app]
        return replace(seen, units=units)
    labels = act.shape["Labels"]
    slots = tuple(int(s) for s in labels["a67.slots"].split(","))
    units[act.app] = SeenUnit(
        act.app, labels["a67.rev"], int(labels["a67.epoch"]), slots, "id", mark=mark_of(act.shape), shape=act.shape
    )
    return replace(seen, units=units)


@given(st.lists(WANTED, min_size=1, max_size=4), st.data())
def test_a_place_converges_from_any_point_of_a_crash_and_then_rests(
    wishes: list[dict[str, tuple[str, int, set[int]]]], data: st.DataObject
) -> None:
    seen = Seen()
    for wish in wishes:
        for _ in range(3):
            wanted = shaped(wish, seen)
            acts = converge(wanted, seen, drifts_of(wanted, seen, differences))
            # The engine may die after any of them.
            for act in acts[: data.draw(st.integers(0, len(acts)))]:
                seen = carried_out(seen, act)
        wanted = shaped(wish, seen)
        for act in converge(wanted, seen, {}):
            seen = carried_out(seen, act)
        wanted = shaped(wish, seen)
        assert converge(wanted, seen, drifts_of(wanted, seen, differences)) == ()
        assert {n: (u.rev, set(u.slots)) for n, u in seen.units.items()} == {n: (w[0], w[2]) for n, w in wish.items()}
