"""Placement by the thousand: never over capacity, never where it is not allowed, spread, stable, explained."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.desired import App, Node, Origin, Place
from automator67.engine.nodes.eligibility import misplaced
from automator67.engine.nodes.placement import CPU_OVERCOMMIT, SYSTEM_MEMORY, Ledger, explain, place
from automator67.engine.observed import NodeState, NodeView
from automator67.engine.tiers import Tier
from tests.support.world import app, node_view

MI = 2**20
states: st.SearchStrategy[NodeState] = st.sampled_from(
    ("healthy", "healthy", "healthy", "suspect", "unavailable", "never", "revoked")
)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[dict[str, Node], dict[str, NodeView]]:
    nodes, views = {}, {}
    for n in range(draw(st.integers(1, 6))):
        name = f"n{n}"
        kind = draw(st.sampled_from(["agent", "agent", "agent", "render", "neon"]))
        services = draw(st.sampled_from([None, 1.0, 3.0]))
        free = Tier("render", 96 * MI, 0.2, services, draw(st.sampled_from([None, 750.0])), sleeps=draw(st.booleans()))
        nodes[name] = Node(
            name, Origin("", ""), kind=kind, tier=free if kind == "render" else None,
            region=draw(st.sampled_from(["eu", "us", ""])), provider=draw(st.sampled_from(["a", "b", ""])),
            memory=draw(st.sampled_from([None, 128 * MI, 512 * MI])),
            schedulable=draw(st.sampled_from([True, True, False])),
        )  # fmt: skip
        view = node_view(name, SYSTEM_MEMORY + draw(st.integers(0, 8)) * 64 * MI)
        views[name] = replace(
            view, state=draw(states), reported=draw(st.sampled_from([True, True, False])),
            disk_used=draw(st.sampled_from([0, view.disk])), failures=draw(st.integers(0, 5)),
            cpu=draw(st.sampled_from([0.5, 2.0])),
        )  # fmt: skip
    return nodes, views


@st.composite
def apps(draw: st.DrawFn) -> list[App]:
    return [
        app(
            f"a{n}", port=80, replicas=draw(st.integers(1, 4)),
            memory=draw(st.sampled_from([32, 64, 128])) * MI, cpu=draw(st.sampled_from([0.1, 0.5])),
            place=Place(
                draw(st.sampled_from(["node", "region", "provider", "none"])),
                draw(st.sampled_from([(), (("region", "eu"),)])), (), draw(st.sampled_from([(), ("n0",)])),
            ),
        )
        for n in range(draw(st.integers(1, 5)))
    ]  # fmt: skip


def put(wanted: Sequence[App], ledger: Ledger) -> list[tuple[App, str]]:
    placed = []
    for a in wanted:
        for slot in range(a.replicas):
            decision = place(a, slot, ledger)
            if decision.node is not None:
                ledger.take(a, slot, decision.node)
                placed.append((a, decision.node))
    return placed


@given(clusters(), apps())
def test_never_over_capacity_and_never_where_it_is_not_allowed(
    cluster: tuple[dict[str, Node], dict[str, NodeView]], wanted: list[App]
) -> None:
    nodes, views = cluster
    placed = put(wanted, Ledger(nodes, views))
    for name, node in nodes.items():
        here = [a for a, where in placed if where == name]
        if not here:
            continue
        view = views[name]
        assert (view.state, view.reported, node.schedulable) == ("healthy", True, True)
        assert node.kind in ("agent", "render")
        memory = node.memory if node.memory is not None else view.memory - (SYSTEM_MEMORY if node.tier is None else 0)
        if node.tier is not None:
            assert max(Counter(a.name for a in here).values()) == 1
            assert max(a.memory for a in here) <= 96 * MI
            assert len(here) <= (node.tier.services or len(here))
        assert sum(a.memory for a in here) <= memory
        assert sum(a.cpu for a in here) <= CPU_OVERCOMMIT * view.cpu + 1e-6
        assert all(misplaced(a, node, name) == "" for a in here)


@given(st.integers(1, 6), st.integers(1, 6))
def test_replicas_are_spread_evenly_over_equal_nodes(count: int, replicas: int) -> None:
    nodes = {f"n{i}": Node(f"n{i}", Origin("", "")) for i in range(count)}
    placed = put([app(replicas=replicas, memory=MI)], Ledger(nodes, {n: node_view(n) for n in nodes}))
    counts = sorted(sum(where == n for _, where in placed) for n in nodes)
    assert counts[-1] - counts[0] <= 1


@given(clusters(), apps(), st.randoms())
def test_the_order_of_nodes_does_not_matter(
    cluster: tuple[dict[str, Node], dict[str, NodeView]], wanted: list[App], random: object
) -> None:
    nodes, views = cluster
    names = list(nodes)
    random.shuffle(names)  # type: ignore[attr-defined]
    again = Ledger({n: nodes[n] for n in names}, views)
    assert [w for _, w in put(wanted, Ledger(nodes, views))] == [w for _, w in put(wanted, again)]


@given(clusters(), apps())
def test_every_node_is_explained(cluster: tuple[dict[str, Node], dict[str, NodeView]], wanted: list[App]) -> None:
    nodes, views = cluster
    ledger = Ledger(nodes, views)
    decision = explain(wanted[0], 0, ledger)
    assert {s.node for s in decision.scores} | {r.node for r in decision.refusals} == set(nodes)
    assert all(r.reason for r in decision.refusals)
    assert all(0 <= s.total <= 1 for s in decision.scores)
    assert decision.reason
    assert decision.node == place(wanted[0], 0, ledger).node


def test_two_replicas_go_to_two_providers() -> None:
    nodes = {n: Node(n, Origin("", ""), provider=p) for n, p in (("a1", "a"), ("a2", "a"), ("b1", "b"))}
    placed = put([app(replicas=2, place=Place("provider"))], Ledger(nodes, {n: node_view(n) for n in nodes}))
    assert {nodes[where].provider for _, where in placed} == {"a", "b"}


def test_reasons_are_for_people() -> None:
    small = {"n0": Node("n0", Origin("", ""), memory=100 * MI)}
    decision = place(app(), 0, Ledger(small, {"n0": node_view("n0")}))
    assert decision.node is None
    assert decision.reason == "n0: needs 128Mi of memory, 100Mi of 100Mi is free"


def test_a_preferred_node_wins_whenever_it_can() -> None:
    nodes = {f"n{i}": Node(f"n{i}", Origin("", "")) for i in range(3)}
    ledger = Ledger(nodes, {n: node_view(n) for n in nodes})
    ledger.take(app(), 0, "n2")
    assert place(app(), 1, ledger, prefer_node="n2").node == "n2"
    assert place(app(), 1, ledger, prefer_node="n2", exclude=frozenset({"n2"})).node != "n2"


@given(clusters(), apps(), st.data())
def test_a_node_that_joins_or_leaves_moves_only_its_own(
    cluster: tuple[dict[str, Node], dict[str, NodeView]], wanted: list[App], data: st.DataObject
) -> None:
    """What is asked for again where it is stays there; only the lost node's instances go elsewhere."""
    nodes, views = cluster
    first: dict[tuple[str, int], str] = {}
    ledger = Ledger(nodes, views)
    for a in wanted:
        for slot in range(a.replicas):
            if (chosen := place(a, slot, ledger).node) is not None:
                ledger.take(a, slot, chosen)
                first[a.name, slot] = chosen
    lost = data.draw(st.sampled_from(sorted(nodes)))
    remaining = {n: v for n, v in views.items() if n != lost}
    joined = nodes | {"new": Node("new", Origin("", ""))}
    later = Ledger(joined, remaining | {"new": node_view("new"), lost: replace(views[lost], state="unavailable")})
    for a in wanted:
        for slot in range(a.replicas):
            before = first.get((a.name, slot))
            if before is None or before == lost:
                continue
            assert place(a, slot, later, prefer_node=before).node == before
            later.take(a, slot, before)
    assert all(lost not in later.peers(a.name) for a in wanted)


@given(clusters(), apps())
def test_an_app_that_can_be_spread_is_spread(
    cluster: tuple[dict[str, Node], dict[str, NodeView]], wanted: list[App]
) -> None:
    """A node gets a second replica only when no node without one could have taken it."""
    nodes, views = cluster
    ledger = Ledger(nodes, views)
    for a in (a for a in wanted if a.place.spread != "none"):
        for slot in range(a.replicas):
            chosen = place(a, slot, ledger).node
            if chosen is None:
                continue
            taken = frozenset(ledger.peers(a.name))
            if chosen in taken:
                assert place(a, slot, ledger, exclude=taken).node is None
            ledger.take(a, slot, chosen)


@given(clusters(), apps())
def test_what_is_taken_and_given_back_changes_no_choice(
    cluster: tuple[dict[str, Node], dict[str, NodeView]], wanted: list[App]
) -> None:
    fresh, used = Ledger(*cluster), Ledger(*cluster)
    exact = [replace(a, cpu=0.25) for a in wanted]
    for count in (Ledger.take, Ledger.release):
        for a in exact:
            for name in cluster[0]:
                count(used, a, 0, name)
    assert [used.peers(a.name) for a in exact] == [() for _ in exact]
    assert put(exact, used) == put(exact, fresh)


@given(clusters(), apps())
def test_the_list_of_scores_agrees_with_the_choice(
    cluster: tuple[dict[str, Node], dict[str, NodeView]], wanted: list[App]
) -> None:
    book = Ledger(*cluster)
    for a in wanted:
        for slot in range(a.replicas):
            decision = explain(a, slot, book)
            totals = [s.total for s in decision.scores]
            assert totals == sorted(totals, reverse=True)
            assert all(0 <= t <= 1 for t in totals)
            for s in decision.scores:
                mean = sum(v * w for _, v, w in s.terms) / sum(w for _, _, w in s.terms)
                assert abs(mean - s.total) < 1e-9
            json.dumps([s.terms for s in decision.scores], allow_nan=False)
            if decision.node is not None:
                assert decision.scores[0].node == decision.node
                book.take(a, slot, decision.node)


@given(st.sampled_from(["region", "provider"]), st.integers(2, 3), st.integers(1, 6))
def test_replicas_are_even_over_groups_with_room(spread: str, groups: int, replicas: int) -> None:
    each = 6
    names = {f"n{g}-{i}": {spread: f"g{g}"} for g in range(groups) for i in range(each)}
    nodes = {n: replace(Node(n, Origin("", "")), **keys) for n, keys in names.items()}
    views = {n: replace(node_view(n), failures=3 if n.startswith("n0") else 0) for n in nodes}
    book = Ledger(nodes, views)
    wanted = app(replicas=replicas, place=Place(spread))  # type: ignore[arg-type]
    for slot in range(replicas):
        chosen = place(wanted, slot, book).node
        assert chosen is not None
        book.take(wanted, slot, chosen)
    counts = [sum(n.startswith(f"n{g}-") for n in book.peers("blog")) for g in range(groups)]
    assert max(counts) - min(counts) <= 1
