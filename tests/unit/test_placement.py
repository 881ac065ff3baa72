"""Placement case by case: what each filter says, what each term of the score prefers, what the ledger counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from automator67.engine.desired import App, Node, Origin, Place, Probe, Update
from automator67.engine.nodes.eligibility import misplaced
from automator67.engine.nodes.placement import (
    CPU_OVERCOMMIT,
    SYSTEM_MEMORY,
    Decision,
    Ledger,
    explain,
    place,
)
from automator67.engine.observed import NodeView
from automator67.engine.tiers import Tier
from tests.support.world import app, node_view

MI = 2**20


def node(name: str, **keys: object) -> Node:
    return replace(Node(name, Origin(f"nodes/{name}.yaml", "b")), **keys)  # type: ignore[arg-type]


def ledger(*nodes: Node, **views: NodeView) -> Ledger:
    return Ledger({n.name: n for n in nodes}, {n.name: node_view(n.name) for n in nodes} | views)


def only(one: Node, view: NodeView | None = None, wanted: App | None = None) -> Decision:
    """Return what is decided when there is one node."""
    views = {} if view is None else {one.name: view}
    return place(wanted or app(), 0, ledger(one, **views))


REFUSED: Mapping[str, tuple[Node, NodeView, App, str]] = {
    "kind": (node("n", kind="neon"), node_view("n"), app(), "n: kind neon cannot be placed on by this version"),
    "cordon": (node("n", schedulable=False), node_view("n"), app(), "n: schedulable: false"),
    "never": (node("n"), NodeView("n", "never"), app(), "n: no agent has joined as this node yet"),
    "suspect": (node("n"), replace(node_view("n"), state="suspect"), app(), "n: the node is suspect"),
    "unavailable": (node("n"), replace(node_view("n"), state="unavailable"), app(), "n: the node is unavailable"),
    "revoked": (node("n"), replace(node_view("n"), state="revoked"), app(), "n: the node is revoked"),
    "unreported": (
        node("n"), replace(node_view("n"), reported=False), app(),
        "n: the node has not reported since the engine started",
    ),
    "runtime": (
        node("n"), replace(node_view("n"), runtimes=frozenset({"process"})), app(),
        "n: it does not offer the docker runtime",
    ),
    "label": (
        node("n", labels=(("disk", "hdd"),)), node_view("n"), app(place=Place(require=(("disk", "ssd"),))),
        "n: node n has no label disk: ssd",
    ),
    "region": (
        node("n", region="us"), node_view("n"), app(place=Place(require=(("region", "eu"),))),
        "n: node n has no label region: eu",
    ),
    "avoid": (node("n"), node_view("n"), app(place=Place(avoid=("n",))), "n: place.avoid names node n"),
    "declared memory": (
        node("n", memory=90 * MI), node_view("n"), app(memory=128 * MI),
        "n: needs 128Mi of memory, 90Mi of 90Mi is free",
    ),
    "measured memory": (
        node("n"), node_view("n", SYSTEM_MEMORY + 100 * MI), app(memory=128 * MI),
        "n: needs 128Mi of memory, 100Mi of 100Mi is free",
    ),
    "cpu": (node("n", cpu=1.0), node_view("n"), app(cpu=2.5), "n: needs 2.5 cpu, 0 of 2 × 1 is promised"),
    "disk": (node("n"), replace(node_view("n"), disk=100, disk_used=95), app(), "n: its disk is 95% full"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_every_filter_refuses_and_says_why(case: str) -> None:
    one, view, wanted, reason = REFUSED[case]
    decision = only(one, view, wanted)
    assert (decision.node, decision.reason) == (None, reason)
    refusal = explain(wanted, 0, ledger(one, n=view)).refusals[0]
    assert f"{refusal.node}: {refusal.reason}" == reason


def test_what_is_refused_for_one_reason_is_taken_without_it() -> None:
    assert only(node("n")).node == "n"
    assert only(node("n", memory=128 * MI), wanted=app(memory=128 * MI)).node == "n", "declared: no reserve"
    assert only(node("n"), node_view("n", SYSTEM_MEMORY + 128 * MI), app(memory=128 * MI)).node == "n"
    assert only(node("n", cpu=1.0), wanted=app(cpu=CPU_OVERCOMMIT)).node == "n", "cpu is shared"


def test_memory_is_counted_to_the_byte() -> None:
    assert only(node("n", memory=128 * MI), wanted=app(memory=128 * MI)).node == "n"
    assert only(node("n", memory=128 * MI - 1), wanted=app(memory=128 * MI)).node is None


@pytest.mark.parametrize(
    "place_of", [Place(avoid=("n",)), Place(require=(("region", "eu"),))], ids=["avoid", "require"]
)
def test_what_one_app_may_not_have_another_may(place_of: Place) -> None:
    for first, then in ((place_of, Place()), (Place(), place_of)):
        book = ledger(node("n"))
        found = {p: place(app(place=p), 0, book).node for p in (first, then)}
        assert found == {Place(): "n", place_of: None}


def test_without_nodes_there_is_nowhere_to_go() -> None:
    assert place(app(), 0, Ledger({}, {})) == Decision(None, "no node is declared in nodes/")


def test_a_node_that_only_reports_is_not_declared() -> None:
    assert place(app(), 0, Ledger({}, {"n": node_view("n")})).node is None


def test_of_many_reasons_three_are_shown() -> None:
    reason = place(app(), 0, ledger(*(node(f"n{i}", schedulable=False) for i in range(5)))).reason
    assert reason == "n0: schedulable: false; n1: schedulable: false; n2: schedulable: false; and 2 more"


@pytest.mark.parametrize(
    ("better", "worse", "wanted"),
    [
        pytest.param({}, {"memory": 2**29}, app(), id="balance"),
        pytest.param({"labels": (("disk", "ssd"),)}, {}, app(place=Place(prefer=(("disk", "ssd"),))), id="prefer"),
    ],
)
def test_a_better_node_is_chosen_whatever_its_name(
    better: dict[str, object], worse: dict[str, object], wanted: App
) -> None:
    for good, bad in (("a", "b"), ("b", "a")):
        for slot in range(8):
            assert place(wanted, slot, ledger(node(good, **better), node(bad, **worse))).node == good


@pytest.mark.parametrize(
    "worse",
    [{"failures": 3}, {"cpu_used": 4.0}, {"memory_used": 2**31}, {"disk_used": 2**35}],
    ids=["reliability", "cpu", "memory", "disk"],
)
def test_a_node_that_failed_or_is_busy_comes_last(worse: dict[str, object]) -> None:
    for good, bad in (("a", "b"), ("b", "a")):
        views = {bad: replace(node_view(bad), **worse)}  # type: ignore[arg-type]
        for slot in range(8):
            assert place(app(), slot, ledger(node(good), node(bad), **views)).node == good


def test_a_node_that_has_the_image_is_preferred() -> None:
    with_it = replace(node_view("b"), images=frozenset({"example/blog:1"}))
    assert {place(app(), s, ledger(node("a"), node("b"), b=with_it)).node for s in range(8)} == {"b"}


def test_equal_nodes_share_by_a_stable_hash() -> None:
    chosen = [place(app(f"app{i}"), 0, ledger(node("a"), node("b"))).node for i in range(64)]
    assert chosen == [place(app(f"app{i}"), 0, ledger(node("b"), node("a"))).node for i in range(64)]
    assert 16 < chosen.count("a") < 48


@pytest.mark.parametrize("spread", ["region", "provider"])
def test_replicas_go_to_different_groups_even_to_a_worse_node(spread: str) -> None:
    near = [node(f"a{i}", **{spread: "x"}) for i in range(3)]
    far = node("z", **{spread: "y"})
    wanted = app(replicas=2, place=Place(spread))  # type: ignore[arg-type]
    busy = replace(node_view("z"), cpu_used=4.0, failures=5)
    for first in ("a0", "a1", "a2"):
        book = ledger(*near, far, z=busy)
        book.take(wanted, 0, first)
        assert place(wanted, 1, book).node == "z"


def test_replicas_of_a_group_that_is_alone_still_spread_over_its_nodes() -> None:
    book = ledger(*(node(f"n{i}", region="eu") for i in range(3)))
    wanted = app(replicas=3, place=Place("region"))
    for slot in range(3):
        chosen = place(wanted, slot, book).node
        assert chosen is not None
        book.take(wanted, slot, chosen)
    assert book.peers("blog") == ("n0", "n1", "n2")


def test_without_spread_the_best_node_takes_every_replica() -> None:
    book = ledger(node("big"), node("small", memory=256 * MI))
    wanted = app(replicas=4, place=Place("none"))
    for slot in range(4):
        assert place(wanted, slot, book).node == "big"
        book.take(wanted, slot, "big")


def test_the_ledger_gives_back_what_is_released() -> None:
    wanted = app(memory=128 * MI)
    book = ledger(node("n", memory=128 * MI))
    book.take(wanted, 0, "n")
    assert book.peers("blog") == ("n",)
    assert place(wanted, 1, book).reason == "n: needs 128Mi of memory, 0B of 128Mi is free"
    book.release(wanted, 0, "n")
    assert book.peers("blog") == ()
    assert place(wanted, 1, book).node == "n"


def test_what_runs_on_an_undeclared_node_counts_nowhere() -> None:
    book = ledger(node("n"))
    book.take(app(), 0, "gone")
    assert book.peers("blog") == ()
    assert place(app(), 1, book).node == "n"


def test_what_already_runs_can_be_more_than_fits_and_is_said() -> None:
    book = ledger(node("n", memory=100 * MI))
    book.take(app("old", memory=300 * MI), 0, "n")
    assert place(app(), 0, book).reason == "n: needs 128Mi of memory, 0B of 100Mi is free"


def test_a_preferred_node_that_cannot_take_it_is_passed_over() -> None:
    assert place(app(), 0, ledger(node("a"), node("b", schedulable=False)), prefer_node="b").node == "a"
    assert place(app(), 0, ledger(node("a")), prefer_node="gone").node == "a"


def test_an_instance_may_stay_where_it_could_not_newly_go() -> None:
    wanted = app(memory=2**40)
    assert misplaced(wanted, node("n", schedulable=False), "n") == "", "a cordoned or crowded node keeps what it has"
    assert misplaced(wanted, None, "n") == "node n is no longer declared"
    assert misplaced(wanted, node("n", kind="neon"), "n") == "node n: kind neon cannot be placed on by this version"
    assert misplaced(app(place=Place(avoid=("n",))), node("n"), "n") == "place.avoid names node n"
    assert misplaced(app(place=Place(require=(("region", "eu"),))), node("n"), "n") == "node n has no label region: eu"


def test_the_explanation_lists_every_term_of_every_node() -> None:
    with_it = replace(node_view("b"), images=frozenset({"example/blog:1"}), failures=1)
    decision = explain(app(), 0, ledger(node("a"), node("b"), node("c", schedulable=False), b=with_it))
    assert {s.node for s in decision.scores} == {"a", "b"}
    for score in decision.scores:
        terms = ["spread", "balance", "prefer", "reliability", "pressure", "awake", "egress", "quota", "image"]
        assert [t for t, _, _ in score.terms] == terms
        assert all(0 <= value <= 1 and weight >= 0 for _, value, weight in score.terms)
    by_node = {s.node: {t: v for t, v, _ in s.terms} for s in decision.scores}
    assert (by_node["a"]["image"], by_node["b"]["image"]) == (0.0, 1.0)
    assert by_node["b"]["reliability"] < by_node["a"]["reliability"] == 1.0
    assert [(r.node, r.reason) for r in decision.refusals] == [("c", "schedulable: false")]


def test_nodes_without_a_provider_are_one_group() -> None:
    book = ledger(node("x"), node("y"), node("z", provider="b"), z=replace(node_view("z"), failures=5))
    wanted = app(replicas=2, place=Place("provider"))
    book.take(wanted, 0, "x")
    assert place(wanted, 1, book).node == "z"


def test_nodes_left_out_on_purpose_are_not_called_undeclared() -> None:
    assert place(app(), 0, ledger(node("a")), exclude=frozenset({"a"})).reason == "no other node can take it"


def test_the_order_in_which_room_was_taken_decides_nothing() -> None:
    parts = [app(f"p{i}", cpu=c, memory=1) for i, c in enumerate((0.1, 0.2, 0.3))]
    one, two = ledger(node("a"), node("b")), ledger(node("a"), node("b"))
    for p in parts:
        one.take(p, 0, "a")
        one.take(p, 0, "b")
        two.take(p, 0, "a")
    for p in reversed(parts):
        two.take(p, 0, "b")
    small = app(cpu=0.1, memory=1)
    assert [place(small, s, one).node for s in range(16)] == [place(small, s, two).node for s in range(16)]


def test_a_quota_of_services_is_a_limit_and_a_term() -> None:
    few = node("n0", quota=(("services", 1.0),))
    book = ledger(few, node("n1"))
    decision = explain(app(), 0, book)
    assert {s.node: {t: v for t, v, _ in s.terms}["quota"] for s in decision.scores} == {"n0": 0.0, "n1": 1.0}
    alone = ledger(few)
    alone.take(app("other"), 0, "n0")
    assert place(app(), 0, alone).reason == "n0: its quota of 1 services is used up"


def test_a_drained_node_gives_up_what_it_holds() -> None:
    drained = node("n0", drain=True)
    assert misplaced(app(), drained, "n0") == "node n0 is drained"
    assert place(app(), 0, ledger(drained, node("n1"))).node == "n1"


FREE = Tier("render", memory=512 * MI, cpu=0.1, hours=750.0, sleeps=True)


def account(name: str, tier: Tier = FREE, **keys: object) -> Node:
    return node(name, kind="render", provider="render", tier=tier, **keys)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (app(memory=600 * MI, port=80), "needs 600Mi of memory, a copy gets 512Mi there"),
        (app(cpu=0.5, port=80), "needs 0.5 cpu, a copy gets 0.1 there"),
        (app(), "runs what answers on a port"),
        (app(port=80, registry="login"), "takes images from public registries only"),
        (app(port=80, update=Update("canary")), "update.strategy canary is only for agents"),
        (app(port=80, health=Probe("command", command=("true",))), "runs no command as a health check"),
    ],
)
def test_an_account_refuses_what_its_api_cannot_run(wanted: App, why: str) -> None:
    assert why in only(account("r1"), wanted=wanted).reason


def test_an_account_runs_one_copy_of_an_app_and_two_accounts_run_two() -> None:
    wanted, one = app(port=80), ledger(account("r1"))
    one.take(wanted, 0, "r1")
    assert "it runs one copy of an app at most" in place(wanted, 1, one).reason
    two = ledger(account("r1"), account("r2"))
    first = place(wanted, 0, two).node
    assert first is not None
    two.take(wanted, 0, first)
    assert {first, place(wanted, 1, two).node} == {"r1", "r2"}


def test_replicas_that_spread_over_providers_are_at_two() -> None:
    wanted = app(port=80, place=Place(spread="provider"))
    koyeb = node("k1", kind="render", provider="koyeb", tier=replace(FREE, kind="koyeb"))
    nodes = ledger(account("r1"), account("r2"), account("r3"), koyeb)
    first = place(wanted, 0, nodes).node
    assert first is not None
    nodes.take(wanted, 0, first)
    second = place(wanted, 1, nodes).node
    assert (first == "k1") != (second == "k1")


def test_what_stays_awake_what_has_hours_left_and_what_may_send_are_preferred() -> None:
    wanted = app(port=80)
    assert place(wanted, 0, ledger(account("a"), account("z", replace(FREE, sleeps=False)))).node == "z"
    assert place(wanted, 0, ledger(account("a", replace(FREE, egress=10**9)), account("z"))).node == "z"
    held = ledger(account("a"), account("z"))
    for n in range(3):
        held.take(replace(wanted, name=f"other{n}"), 0, "a")
    assert place(wanted, 0, held).node == "z"
    none = account("n", replace(FREE, services=1.0))
    full = ledger(none)
    full.take(replace(wanted, name="other"), 0, "n")
    assert "its quota of 1 services is used up" in place(wanted, 0, full).reason
