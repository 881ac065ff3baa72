"""Maintenance windows: when cron means, what is open, what it does to a node, and when to look again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.desired import Desired
from automator67.engine.maintenance import in_force, next_change, window_at
from automator67.engine.nodes.eligibility import closed, misplaced, remark
from automator67.engine.nodes.judgement import Signs, Weather, judge_nodes
from automator67.engine.settings import Settings
from automator67.engine.windows import Maintenance, Window
from automator67.schemas.cron_times import first_after, moment, shown
from tests.support.world import app, node_view
from tests.unit.test_load import load
from tests.unit.test_placement import node

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("text", "zone", "after", "due"),
    [
        ("0 3 * * *", "UTC", "2026-01-01T02:59", "2026-01-01T03:00"),
        ("0 3 * * *", "UTC", "2026-01-01T03:00", "2026-01-02T03:00"),
        ("*/20 8-9 * * mon-fri", "UTC", "2026-01-02T09:40", "2026-01-05T08:00"),
        ("0 0 * * 0", "UTC", "2026-01-01T00:00", "2026-01-04T00:00"),
        ("0 0 * * 7", "UTC", "2026-01-01T00:00", "2026-01-04T00:00"),
        ("0 0 13 * fri", "UTC", "2026-01-10T00:00", "2026-01-13T00:00"),
        ("0 0 31 1,3 *", "UTC", "2026-02-01T00:00", "2026-03-31T00:00"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("@weekly", "UTC", "2026-01-01T00:00", "2026-01-04T00:00"),
        ("@monthly", BERLIN, "2026-01-15T00:00", "2026-02-01T00:00"),
        ("0 3 * * *", BERLIN, "2026-07-01T04:00", "2026-07-02T03:00"),
        ("30 2 * * *", BERLIN, "2026-03-28T12:00", "2026-03-29T03:30"),
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", "2026-10-25T02:30"),
        ("30 2 * * *", BERLIN, "2026-10-25T02:30", "2026-10-26T02:30"),
    ],
)
def test_when_cron_is_due(text: str, zone: str, after: str, due: str) -> None:
    assert first_after(text, zone, at(after, zone)) == at(due, zone)


@given(
    st.sampled_from(["*/7 * * * *", "5 4 * * *", "0 0 1 * *", "15 3 * * sun", "0 12 1,15 * mon", "30 2 * * *"]),
    st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    st.floats(1.7e9, 1.9e9),
)
def test_the_next_time_is_later_and_nothing_lies_between(text: str, zone: str, after: float) -> None:
    due = first_after(text, zone, after)
    assert due is not None
    assert due > after
    assert first_after(text, zone, (after + due) / 2) == due
    assert first_after(text, zone, due - 0.5) == due


def test_single_times() -> None:
    assert moment("2026-01-31T22:00", BERLIN) == at("2026-01-31T21:00")
    assert moment("2026-01-31T22:00Z", BERLIN) == at("2026-01-31T22:00")
    assert shown(at("2026-01-31T21:00"), BERLIN) == "2026-01-31 22:00 Europe/Berlin"


WEEKLY = Maintenance(schedule="0 3 * * 0", length=7200.0, timezone="UTC")


def test_what_is_open() -> None:
    sunday = at("2026-01-04T03:00")
    assert window_at([WEEKLY], sunday - 1) is None
    assert window_at([WEEKLY], sunday) == Window(sunday + 7200, False, "maintenance until 2026-01-04 05:00 UTC")
    assert window_at([WEEKLY], sunday + 7199) is not None
    assert window_at([WEEKLY], sunday + 7200) is None
    once = Maintenance(begins="2026-01-04T04:00", length=7200.0, drain=True)
    both = window_at([WEEKLY, once], sunday + 4000)
    assert both == Window(sunday + 3600 + 7200, True, "maintenance until 2026-01-04 06:00 UTC")
    hourly = Maintenance(schedule="0 * * * *", length=5400.0)
    overlapping = window_at([hourly], sunday + 1800)
    assert overlapping is not None
    assert overlapping.until == sunday + 5400


def test_when_to_look_again_and_that_nothing_changes_in_between() -> None:
    sunday = at("2026-01-04T03:00")
    nodes = {"a": node("a", maintenance=(WEEKLY,)), "b": node("b")}
    assert next_change(nodes, sunday - 100) == sunday
    assert next_change(nodes, sunday) == sunday + 7200
    assert next_change({"b": nodes["b"]}, sunday) == 0.0
    past = Maintenance(begins="2020-01-01T00:00", length=60.0)
    assert next_change({"a": node("a", maintenance=(past,))}, sunday) == 0.0
    desired = Desired("c", nodes=nodes)
    assert in_force(desired, sunday - 1) is desired
    opened = in_force(desired, sunday)
    assert opened.nodes["a"].window is not None
    assert in_force(opened, sunday + 60) is opened
    assert in_force(opened, sunday + 7200) == desired


def test_an_open_window_keeps_new_copies_away_and_drains_if_asked() -> None:
    window = Window(1.0, False, "maintenance until noon")
    cordoned, drained = node("n", window=window), node("n", window=replace(window, drain=True))
    assert closed(cordoned, node_view("n")) == closed(drained, node_view("n")) == "maintenance until noon"
    assert misplaced(app(), cordoned, "n") == ""
    assert misplaced(app(), drained, "n") == "node n is drained: maintenance until noon"
    assert remark(cordoned, 2) == "maintenance until noon"
    assert remark(drained, 2) == "maintenance until noon; draining: 2 copies are still here"
    assert remark(node("n", drain=True), 1) == "draining: 1 copy is still here"
    assert remark(node("n", drain=True), 0) == "drained: nothing of ours runs here"
    assert remark(node("n", schedulable=False), 3) == "cordoned: schedulable: false"
    assert remark(node("n"), 3) == ""


def test_silence_in_a_window_is_expected() -> None:
    signs = {name: Signs(500.0 if name in "abc" else 1.0) for name in "abcdefgh"}
    words = {"a": "maintenance until noon"}
    verdicts = judge_nodes(signs, {}, Weather(-1e6), Settings(), 0.0, words)[0]
    assert (verdicts["a"].state, verdicts["a"].reason) == ("maintenance", "maintenance until noon")
    assert verdicts["b"].state == "unavailable", "a node that may be away is no sign that many fell silent"
    assert judge_nodes(signs, {}, Weather(-1e6), Settings(), 0.0)[0]["b"].state == "suspect"
    assert judge_nodes({"a": Signs(1.0)}, {}, Weather(-1e6), Settings(), 0.0, words)[0]["a"].state == "healthy"
    revoked = {"a": Signs(1.0, revoked=True)}
    assert judge_nodes(revoked, {}, Weather(-1e6), Settings(), 0.0, words)[0]["a"].state == "revoked"


def test_yaml_becomes_windows() -> None:
    weekly = "{schedule: 0 3 * * 0, for: 2h, timezone: Europe/Berlin, drain: true}"
    loaded = load({"nodes/hel1.yaml": f"maintenance: [{weekly}, {{from: 2026-01-31T22:00, for: 1h}}]"})
    assert loaded.desired is not None, loaded.problems
    assert loaded.desired.nodes["hel1"].maintenance == (
        Maintenance("0 3 * * 0", "", 7200.0, BERLIN, True),
        Maintenance("", "2026-01-31T22:00", 3600.0, "UTC", False),
    )


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ("{for: 2h}", "exactly one of schedule and from"),
        ("{schedule: '@daily', from: 2026-01-31T22:00, for: 2h}", "exactly one of schedule and from"),
        ("{schedule: '@daily', for: 5s}", "between a minute and 30 days"),
        ("{schedule: '0 25 * * *', for: 2h}", "25 is not a hour"),
        ("{from: 2026-02-30T22:00, for: 2h}", "there is no day 2026-02-30"),
        ("{from: 2026-02-20T25:00, for: 2h}", "there is no time 25:00"),
        ("{from: soon, for: 2h}", "from"),
        ("{schedule: '@daily', for: 2h, timezone: Europe/Berlinn}", "Europe/Berlin?"),
        ("{schedule: '@daily'}", "for"),
    ],
)
def test_bad_windows_are_named(window: str, words: str) -> None:
    loaded = load({"nodes/hel1.yaml": f"maintenance: [{window}]"})
    assert loaded.desired is None
    assert any(words in str(p) for p in loaded.problems), [str(p) for p in loaded.problems]
