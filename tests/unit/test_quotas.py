"""Quotas of free tiers: what is counted, what is foretold, what is warned of, and where nothing new goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.accounts import accounted, standing
from automator67.engine.breaker import Breakers
from automator67.engine.chronicle import Chronicle, Judged
from automator67.engine.cli.quotas import command
from automator67.engine.desired import Desired, Node, Origin, Other
from automator67.engine.judge import Standing
from automator67.engine.months import month_of
from automator67.engine.nodes.placement import Ledger, place
from automator67.engine.observed import Instance, NodeView, Observed
from automator67.engine.quotas import Period, Quota, projected
from automator67.engine.store.database import Store, open_store
from automator67.engine.store.quotas import read_quotas
from automator67.engine.store.tables import events
from automator67.engine.tiers import Tier
from automator67.engine.troubles import troubles
from tests.support.world import app, desired

NOON = 1_764_072_000.0  # 2025-11-25
MONTH, BEGINS, ENDS = month_of(NOON)
DAY = 86400.0
BLOG = replace(app(), port=8080)


def account(name: str = "far", **tier: float) -> Node:
    return replace(Node(name, Origin(f"nodes/{name}.yaml", "b"), "render"), tier=Tier("render", **tier))  # type: ignore[arg-type]


def view(name: str = "far", copies: int = 1) -> NodeView:
    made = tuple(Instance(f"blog-{n}-r", "blog", n, "r", 1, name, "running", "healthy") for n in range(copies))
    return NodeView(
        name, "healthy", reported=True, cpu=8.0, memory=2**33, runtimes=frozenset({"docker"}), instances=made
    )


@given(st.floats(0, 1e6), st.floats(0, 30 * DAY), st.floats(0, 40 * DAY), st.none() | st.floats(0, 10))
def test_what_is_foretold_is_never_less_than_what_is_used(
    used: float, since: float, now: float, rate: float | None
) -> None:
    period = Period(BEGINS, ENDS, BEGINS + since)
    found = projected(used, period, BEGINS + now, rate)
    assert found >= used
    if BEGINS + now >= ENDS:
        assert found == used


def test_a_mean_of_a_few_minutes_foretells_nothing() -> None:
    young = Period(BEGINS, ENDS, NOON - 60)
    assert projected(1e9, young, NOON) == 1e9
    old = Period(BEGINS, ENDS, BEGINS)
    # After half of the month twice as much.
    assert projected(100.0, old, (BEGINS + ENDS) / 2) == pytest.approx(200.0)


@pytest.mark.parametrize(
    ("resource", "used", "foretold", "state"),
    [
        ("hours", 100, 744, "ok"), ("hours", 100, 760, "near"), ("hours", 600, 700, "near"),
        ("hours", 750, 750, "over"), ("egress", 700, 700, "near"), ("services", 750, 750, "ok"),
        ("services", 751, 751, "over"), ("connections", 749, 749, "ok"),
    ],
)  # fmt: skip
def test_when_it_is_warned_of(resource: str, used: float, foretold: float, state: str) -> None:
    assert Quota("far", resource, used, 750, foretold, ENDS).state == state  # type: ignore[arg-type]


def test_one_free_service_may_run_all_month_and_two_may_not() -> None:
    for copies, state in ((1, "ok"), (2, "near")):
        hours = {"far": (copies * 24.0, BEGINS)}
        (found,) = standing(
            desired(nodes={"far": account(hours=750)}), {"far": view(copies=copies)}, {}, hours, (BEGINS, ENDS),
            BEGINS + DAY,
        )  # fmt: skip
        assert found.state == state
        assert found.projected == pytest.approx(copies * 720)


def test_what_is_used_is_taken_from_copies_shards_and_the_provider() -> None:
    declared = [{"name": "s0", "provider": "far"}, {"name": "s1", "provider": "far", "connections": 5}, {"name": "s2"}]
    shards = Other("shard", "main", Origin("shards/main.yaml", "b"), {"shards": declared})
    far = account(services=1, databases=1, connections=20, egress=1000, disk=1000)
    nodes = {"far": far, "own": Node("own", Origin("nodes/own.yaml", "b"))}
    reports = {"far": {"usage": {"egress": 900, "disk": 10}, "period": [NOON - DAY, NOON + DAY]}}
    wanted: Desired = replace(desired(nodes=nodes), others=(shards,))
    found = {q.resource: q for q in standing(wanted, {"far": view()}, reports, {}, (BEGINS, ENDS), NOON)}
    assert {r: (q.used, q.state) for r, q in found.items()} == {
        "services": (1, "ok"), "databases": (2, "over"), "connections": (15, "ok"), "egress": (900, "near"),
        "storage": (10, "ok"),
    }  # fmt: skip
    assert found["egress"].projected == pytest.approx(1800)
    assert found["egress"].ends == NOON + DAY


def test_nothing_new_goes_where_the_month_is_used_up_and_less_where_little_is_left() -> None:
    nodes = {n: account(n, hours=750) for n in ("a", "b")}
    views = {n: view(n, 0) for n in nodes}

    def chosen(*found: Quota) -> str | None:
        return place(BLOG, 0, Ledger(nodes, accounted(views, found))).node

    for poor, rich in (("a", "b"), ("b", "a")):
        assert chosen(Quota(poor, "hours", 700, 750, 740, ENDS)) == rich
        assert chosen(Quota(poor, "hours", 751, 750, 751, ENDS), Quota(rich, "hours", 740, 750, 749, ENDS)) == rich
    nowhere = place(BLOG, 0, Ledger(nodes, accounted(views, [Quota(n, "egress", 9, 5, 9, ENDS) for n in nodes])))
    assert nowhere.node is None
    assert "its quota of 5B sent is used up" in nowhere.reason


class World:
    """A chronicle over one account, ticked through time."""

    def __init__(self, folder: Path) -> None:
        self.now, self.folder = NOON, folder
        self.store: Store = open_store(folder / "store.db")
        self.chronicle = Chronicle(self.store, Breakers(), folder / "sql", lambda: self.now, str)
        self.wanted = desired(nodes={"far": account(hours=750)})

    def run(self, seconds: int, copies: int) -> None:
        seen = Observed({"far": view(copies=copies)})
        for _ in range(seconds):
            self.now += 1
            self.chronicle.tick(Judged(self.now, {}, self.wanted, seen))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def test_hours_are_counted_over_restarts_and_begin_anew_with_the_month(world: World) -> None:
    world.run(1801, 2)
    world.chronicle = Chronicle(world.store, Breakers(), world.folder / "sql", lambda: world.now, str)
    world.run(1801, 2)
    (found,) = world.chronicle.quotas
    assert found.used == pytest.approx(2.0, abs=0.05)
    assert found.projected == pytest.approx(found.used + 2 * (ENDS - world.now) / 3600, abs=0.1)
    world.now = ENDS + 5
    world.run(3, 0)
    (found,) = world.chronicle.quotas
    assert found.used < 0.01


def test_a_warning_is_an_event_a_trouble_and_an_exit_code(world: World) -> None:
    world.run(2, 1)
    at = ["--state", str(world.folder)]
    assert CliRunner().invoke(command, at).exit_code == 0
    world.wanted = desired(nodes={"far": account(hours=100)})
    world.run(120, 1)
    with world.store.read() as tx:
        (found,) = read_quotas(tx)
        told = [e.message for e in tx.execute(events.select()) if e.kind == "quota"]
    assert found.state == "near"
    assert told == [told[0]]
    assert told[0].startswith("0 of 100 hours awake, 13")
    shown = CliRunner().invoke(command, at)
    assert shown.exit_code == 1
    assert "near" in shown.output
    (entry,) = json.loads(CliRunner().invoke(command, [*at, "--json"]).output)
    assert (entry["node"], entry["resource"], entry["state"]) == ("far", "hours", "near")
    seen = Observed(accounted({"far": view()}, world.chronicle.quotas))
    (trouble,) = troubles(world.wanted, seen, Standing({}, "", ""))
    assert (trouble.resource, trouble.state) == ("node/far", "quota")
    assert trouble.reason == "its quota of 100 hours awake will not last until the end of the period"
