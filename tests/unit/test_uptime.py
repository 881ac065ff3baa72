"""Uptime: what a moment counts as, what silence was, months, and how it is shown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.breaker import Breakers
from automator67.engine.chronicle import Chronicle, Judged
from automator67.engine.cli.status import command as status
from automator67.engine.cli.uptime import command
from automator67.engine.desired import Node, Origin
from automator67.engine.judge import AppState
from automator67.engine.months import month_of
from automator67.engine.observed import NodeState, NodeView, Observed
from automator67.engine.store.database import Store, open_store
from automator67.engine.store.facts import set_app_states
from automator67.engine.store.uptime import MONTHS, add_spent, months
from automator67.engine.uptime import Spent, Verdict, account, percent, verdict
from automator67.engine.windows import Window
from tests.support.world import desired

NOON = 1_764_072_000.0  # 2025-11-25


def state(*healthy: bool, health: str = "healthy", wanted: int = 1) -> AppState:
    copies = tuple({"node": f"n{i}", "healthy": h, "phase": "running", "address": ""} for i, h in enumerate(healthy))
    return AppState(
        "blog", "synced", health, "none", replicas_wanted=wanted, replicas_healthy=sum(healthy), instances=copies
    )


@pytest.mark.parametrize(
    ("now", "nodes", "announced", "ran", "word"),
    [
        (state(True), {"n0": "healthy"}, "", True, "up"),
        (state(False, True), {"n0": "healthy", "n1": "recovering"}, "", True, "up"),
        (state(True), {"n0": "suspect"}, "", True, "silent"),
        (state(True, True), {"n0": "failing", "n1": "healthy"}, "", True, "up"),
        (state(False, health="missing"), {"n0": "healthy"}, "", True, "down"),
        (state(health="missing"), {}, "", True, "down"),
        (state(False, health="progressing"), {"n0": "healthy"}, "", False, "idle"),
        (state(False, health="unknown"), {"n0": "never"}, "", True, "unknown"),
        (state(False, health="missing"), {"n0": "maintenance"}, "n0", True, "maintenance"),
        (state(True), {"n0": "healthy"}, "n0", True, "up"),
        (state(wanted=0), {}, "", True, "idle"),
    ],
)
def test_what_a_moment_counts_as(
    now: AppState, nodes: dict[str, NodeState], announced: str, ran: bool, word: Verdict
) -> None:
    assert verdict(now, nodes, frozenset(filter(None, [announced])), ran_before=ran) == word


WORDS: list[Verdict] = ["up", "down", "maintenance", "silent", "unknown", "idle"]


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.floats(0, 100)), max_size=40))
def test_no_time_is_counted_twice_and_the_unknown_is_never_down(
    taken: list[tuple[Verdict, float]],
) -> None:
    spent = Spent()
    for found, seconds in taken:
        spent = account(spent, found, seconds)
    known = spent.up + spent.down + spent.maintenance + spent.idle + spent.silent
    assert known <= sum(seconds for _, seconds in taken) + 1e-6
    if not any(found == "down" for found, _ in taken):
        assert spent.down == 0
    for word in ("up", "down", "maintenance", "idle"):
        assert getattr(spent, word) >= sum(s for f, s in taken if f == word) - 1e-6


def test_what_a_silence_was_is_decided_by_its_end() -> None:
    silent = account(account(Spent(), "silent", 40), "silent", 20)
    assert account(silent, "up", 1) == Spent(up=61)
    assert account(silent, "down", 1) == Spent(down=61)
    assert account(silent, "unknown", 1) == Spent()


@pytest.mark.parametrize(
    ("at", "month", "length"),
    [(NOON, "2025-11", 30), (1_735_689_599.0, "2024-12", 31), (1_709_164_800.0, "2024-02", 29)],
)
def test_months_are_those_of_the_calendar(at: float, month: str, length: int) -> None:
    name, begins, ends = month_of(at)
    assert (name, (ends - begins) / 86400) == (month, length)
    assert begins <= at < ends


class World:
    """A chronicle that is ticked through time, over an app on one node."""

    def __init__(self, folder: Path) -> None:
        self.now, self.folder = NOON, folder
        self.store: Store = open_store(folder / "store.db")
        self.app, self.window = state(True), False
        self.node: NodeState = "healthy"
        self.restart()

    def restart(self) -> None:
        self.chronicle = Chronicle(self.store, Breakers(), self.folder / "sql", lambda: self.now, str)

    def run(self, seconds: int) -> None:
        window = Window(self.now + 9e9, False, "maintenance") if self.window else None
        node = replace(Node("n0", Origin("nodes/n0.yaml", "b"), "agent"), window=window)
        seen = Observed({"n0": NodeView("n0", self.node)}, last_good={"blog": None})  # type: ignore[dict-item]
        for _ in range(seconds):
            self.now += 1
            self.chronicle.tick(Judged(self.now, {"blog": self.app}, desired(nodes={"n0": node}), seen))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def test_a_day_in_the_life_of_an_app(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run(600)
    world.app, world.node = state(True), "suspect"
    world.run(60)
    world.app, world.node = state(False, health="missing"), "unavailable"
    world.run(120)
    world.app, world.node, world.window = state(False, health="missing"), "maintenance", True
    world.run(90)
    world.app, world.node, world.window = state(True), "healthy", False
    world.run(30)
    world.now += 1000
    world.restart()
    world.run(121)
    with world.store.read() as tx:
        (m,) = months(tx, world.now)
    assert m.month == "2025-11"
    # What is not written yet, less than a minute, is not known; nor are the minute before the kill and the time away.
    assert m.up == pytest.approx(600 + 30 + 121, abs=90)
    assert m.down == pytest.approx(180, abs=1)
    assert m.maintenance == pytest.approx(90, abs=1)
    assert 1000 <= m.unknown <= 1150
    assert m.up + m.down + m.maintenance + m.unknown == pytest.approx(world.now - m.since, abs=1)

    monkeypatch.setattr("time.time", lambda: world.now)
    at = ["--state", str(world.folder)]
    assert CliRunner().invoke(command, at).output.splitlines()[1].startswith(f"blog  2025-11  {percent(m.ratio)}")
    (entry,) = json.loads(CliRunner().invoke(command, ["app/blog", *at, "--json"]).output)
    assert entry["down_seconds"] == pytest.approx(180, abs=1)
    (row,) = csv.DictReader(io.StringIO(CliRunner().invoke(command, [*at, "--csv"]).output))
    assert float(row["uptime"]) == pytest.approx(entry["uptime"])
    wrong = CliRunner().invoke(command, ["blgo", *at])
    assert wrong.exit_code
    assert "did you mean blog?" in wrong.output
    with world.store.begin() as tx:
        set_app_states(tx, {}, {"blog": world.app}, world.now)
    assert percent(m.ratio) in CliRunner().invoke(status, at).output


def test_an_engine_that_is_stopped_for_a_while_knows_nothing_of_that_time(world: World) -> None:
    world.run(60)
    world.app = state(False, health="missing")
    world.now += 300
    world.run(60)
    with world.store.read() as tx:
        (m,) = months(tx, world.now)
    assert m.down <= 61
    assert m.unknown >= 299


def test_thirteen_months_are_kept(world: World) -> None:
    at = NOON
    for _ in range(20):
        with world.store.begin() as tx:
            add_spent(tx, {"blog": Spent(up=10), "shop": Spent(down=10)}, at - 60, at)
        at = month_of(at)[2] + 86400
    with world.store.read() as tx:
        kept = months(tx, at)
    assert len(kept) == 2 * MONTHS
    assert {m.ratio for m in kept if m.app == "blog"} == {1.0}
    assert kept[0].month == max(m.month for m in kept)


def test_a_share_is_never_rounded_up_to_all() -> None:
    assert [percent(r) for r in (1.0, 0.9999999, 0.5, 0.0, None)] == ["100 %", "99.999 %", "50.000 %", "0.000 %", "-"]
