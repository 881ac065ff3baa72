"""Where a request may go, and that shares are kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from automator67.agent.edge.balance import MOST_RECORDS, Place, local_places, multiplicities, node_places, places
from automator67.agent.edge.table import Table, TableError, parse, split

MESH, FAR = 5304, 5305


def table(*targets: tuple[str, str, int], local: dict[str, Any] | None = None, node: str = "one") -> Table:
    return parse({
        "node": node, "gateway": {},
        "apps": {"web": [{"instance": i, "node": n, "weight": w} for i, n, w in targets]},
        "nodes": {"one": "10.0.0.1:6768", "two": "10.0.0.2:6768", "three": "three.test:7000"},
        "local": {i: {"address": a, "up": up} for i, (a, up) in (local or {}).items()},
    })  # fmt: skip


WEIGHTS = st.lists(st.integers(0, 1000), min_size=1, max_size=40)


@given(WEIGHTS, st.integers(1, MOST_RECORDS), st.floats(0, 1, exclude_max=True))
@example([69, 72, 46], 1, 0.9999999999999999)
@example([3, 1], 32, 0.0)
def test_an_answer_is_never_empty_nor_too_long(weights: list[int], most: int, chance: float) -> None:
    counts = multiplicities(dict(enumerate(weights)), chance, most)
    assert 1 <= sum(counts.values()) <= most
    assert all(n > 0 for n in counts.values())
    if any(weights):
        assert all(weights[key] for key in counts)


@given(WEIGHTS, st.integers(1, MOST_RECORDS))
def test_shares_are_kept_over_time(weights: list[int], most: int) -> None:
    draws = 400
    share = dict.fromkeys(range(len(weights)), 0.0)
    for draw in range(draws):
        counts = multiplicities(dict(enumerate(weights)), (draw + 0.5) / draws, most)
        for key, count in counts.items():
            share[key] += count / sum(counts.values()) / draws
    wanted = weights if any(weights) else [1] * len(weights)
    for key, weight in enumerate(wanted):
        assert share[key] == pytest.approx(weight / sum(wanted), abs=0.01)


@given(WEIGHTS, st.integers(1, MOST_RECORDS), st.floats(0, 1, exclude_max=True))
def test_no_answer_is_far_from_the_shares(weights: list[int], most: int, chance: float) -> None:
    counts = multiplicities(dict(enumerate(weights)), chance, most)
    total = sum(weights)
    if sum(counts.values()) == most and total:
        assert all(abs(counts.get(k, 0) - w / total * most) < 1 + 1e-6 for k, w in enumerate(weights))


def test_nothing_known_is_nothing() -> None:
    assert multiplicities({}, 0.5) == {}


@given(
    st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), st.integers(0, 5), st.booleans()), max_size=8),
    st.sets(st.sampled_from(["two", "three"])),
)
def test_who_is_down_is_left_out_unless_all_are(copies: list[tuple[str, int, bool]], down: set[str]) -> None:
    targets = [(f"w{n}", node, weight) for n, (node, weight, _) in enumerate(copies)]
    local = {
        f"w{n}": (f"127.0.0.1:{20_000 + n}", up) for n, (node, _, up) in enumerate(copies) if node == "one"
    }  # fmt: skip
    found = places(table(*targets, local=local), "web", down, MESH, FAR)
    assert bool(found) == bool(targets)
    healthy = {f"127.0.0.1:{20_000 + n}" for n, (node, _, up) in enumerate(copies) if node == "one" and up}
    if any(node != "one" and node not in down for node, _, _ in copies):
        healthy.add(f"127.0.0.1:{MESH}")
    got = {f"{p.host}:{p.port}" for p in found}
    assert got == healthy if healthy else len(got) == len(found)
    far = {node for node, _, _ in copies if node != "one"}
    proxies = {p.host for p in node_places(table(*targets, local=local), "web", down)}
    assert proxies == (far - down or far)


def test_the_copies_of_other_nodes_are_one_place_with_the_shares_of_all() -> None:
    t = table(("w0", "two", 1), ("w1", "two", 2), ("w2", "three", 1))
    assert places(t, "web", (), MESH, FAR) == [Place("127.0.0.1", MESH, 4)]
    assert places(t, "web", {"two"}, MESH, FAR) == [Place("127.0.0.1", MESH, 1)]
    assert node_places(t, "web", ()) == [Place("two", 6768, 3, node=True), Place("three", 7000, 1, node=True)]


@pytest.mark.parametrize(("address", "place"), [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("[::1]:80", ("::1", 80))])
def test_a_copy_here_is_reached_directly(address: str, place: tuple[str, int]) -> None:
    t = table(("w0", "one", 1), local={"w0": (address, True)})
    assert places(t, "web", (), MESH, FAR) == [Place(*place, 1)]
    assert node_places(t, "web", ()) == []


def test_a_copy_on_a_node_nobody_knows_is_nowhere() -> None:
    assert places(table(("w0", "gone", 1)), "web", (), MESH, FAR) == []
    assert places(table(("w0", "one", 1)), "web", (), MESH, FAR) == []
    assert places(table(("w0", "two", 1)), "other", (), MESH, FAR) == []


def test_the_proxy_sends_only_to_copies_of_its_own_node() -> None:
    t = table(
        ("w0", "one", 1), ("w1", "one", 2), ("w2", "two", 5), ("w3", "one", 1),
        local={"w0": ("127.0.0.1:20001", True), "w1": ("[::1]:80", True), "w3": ("127.0.0.1:20003", False)},
    )  # fmt: skip
    assert local_places(t, "web") == [Place("127.0.0.1", 20_001, 1), Place("::1", 80, 2)]
    sick = table(("w0", "one", 1), local={"w0": ("127.0.0.1:20001", False)})
    assert local_places(sick, "web") == [Place("127.0.0.1", 20_001, 1)]


def test_addresses_are_taken_apart() -> None:
    assert split("10.0.0.1:80") == ("10.0.0.1", 80)
    assert split("[::1]:80") == ("::1", 80)
    assert split("node.example.org:6768") == ("node.example.org", 6768)


def bare(*addresses: str, local: dict[str, Any] | None = None) -> Table:
    found = table(*((i, "one", 1) for i in local or {}), local=local)
    doc = [{"instance": f"s{n}", "node": "swarm", "weight": 2, "address": a} for n, a in enumerate(addresses)]
    more = parse({"node": "one", "apps": {"web": doc}}).apps["web"]
    return found._replace(apps={"web": (*found.apps["web"], *more)})


def test_copies_whose_node_has_no_proxy_are_reached_directly() -> None:
    t = bare("10.9.0.1:32768", "[fd00::1]:32769", local={"i": ("127.0.0.1:20000", True), "j": ("127.0.0.1:1", False)})
    there = [Place("10.9.0.1", 32768, 2), Place("fd00::1", 32769, 2)]
    assert places(t, "web", (), MESH, FAR) == [Place("127.0.0.1", 20000, 1), *there]
    assert local_places(t, "web") == [Place("127.0.0.1", 20000, 1)]
    assert node_places(t, "web", ()) == []


def test_an_address_without_a_proxy_is_one_of_numbers() -> None:
    with pytest.raises(TableError):
        bare("swarm.example.org:32768")
