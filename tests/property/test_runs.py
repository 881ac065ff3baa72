"""Jobs over any schedule, zone and history: nothing runs twice for one time, and nothing is forgotten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.apps.runs import ended
from automator67.engine.apps.schedule import LATE_SECONDS, due
from automator67.engine.copies import Copy
from automator67.engine.desired import Desired
from automator67.engine.job_times import last_time, moments, next_time
from automator67.engine.jobs import Job, Moment, Run, Runs, as_run, run_number
from automator67.engine.observed import Revision
from automator67.engine.plan.planner import plan
from automator67.schemas.cron_times import first_after
from tests.support.world import World, app, desired

CRONS = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 3 * * 0", "59 23 31 12 *", "0 0 29 2 *", "@hourly"]
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
TIMES = st.floats(1.6e9, 1.9e9, allow_nan=False)


def job(cron: str = "0 3 * * *", **keys: Any) -> Job:
    return Job(cron, **keys)


def run(number: int, state: str = "succeeded", **keys: Any) -> Run:
    return Run("j", number, keys.pop("kind", "schedule"), "r", 0.0, state=state, **keys)  # type: ignore[arg-type]


@given(CRONS, ZONES, TIMES, st.floats(0, 3 * 86400))
def test_the_last_time_is_one_of_the_times_and_none_lies_between(
    cron: str, zone: str, after: float, more: float
) -> None:
    now = after + more
    at = last_time(job(cron, timezone=zone), after, now)
    if not at:
        found = first_after(cron, zone, after)
        assert found is None or found > now
        return
    assert after < at <= now
    following = first_after(cron, zone, at)
    assert following is None or following > now


def test_a_long_absence_is_looked_at_quickly() -> None:
    year = 366 * 86400.0
    assert last_time(job("* * * * *"), 1.7e9, 1.7e9 + 5 * year) == pytest.approx(1.7e9 + 5 * year, abs=60)
    assert last_time(job("0 0 29 2 *"), 1.7e9, 1.7e9 + 3 * year) > 0


@given(CRONS, ZONES, TIMES, st.lists(st.floats(1, 90_000), max_size=20), st.sampled_from(["skip", "queue", "replace"]))
def test_every_time_has_one_run_at_most_whenever_the_engine_looks(
    cron: str, zone: str, start: float, steps: list[float], overlap: Any
) -> None:
    wanted = app("j", job=job(cron, timezone=zone, overlap=overlap))
    world = World.of(1)
    world.now = start
    deployed = {"j": Revision("j", wanted.rev, "c", {}, start, asked_at=start)}
    state = Desired("c", apps={"j": wanted})
    runs: list[Run] = []
    for step in steps:
        world.now += step
        moment = moments(state, deployed, Runs({"j": tuple(runs)}), world.now)["j"]
        what = due(wanted.job, wanted.rev, runs, moment, world.now)  # type: ignore[arg-type]
        assert what.next_at == 0 or what.next_at > world.now
        if what.what in ("run", "skip"):
            state_of = "succeeded" if what.what == "run" else "skipped"
            runs.insert(0, run(len(runs) + 1, state_of, due_at=what.at, started_at=world.now, ended_at=world.now))
    times = [r.due_at for r in runs]
    assert times == sorted(set(times), reverse=True)
    assert all(start < at <= world.now for at in times)


AT = 1_800_000_000.0


@pytest.mark.parametrize(
    ("keys", "runs", "late", "what"),
    [
        ({}, [], 0, "run"),
        ({}, [], LATE_SECONDS + 1, "run"),
        ({"missed": "skip"}, [], LATE_SECONDS - 1, "run"),
        ({"missed": "skip"}, [], LATE_SECONDS + 1, "skip"),
        ({}, [run(1, "wanted")], 0, "skip"),
        ({"overlap": "queue"}, [run(1, "wanted")], 0, "wait"),
        ({"overlap": "replace"}, [run(1, "wanted")], 0, "replace"),
        ({"overlap": "queue", "missed": "skip"}, [run(1, ended_at=AT + 500)], 501, "run"),
        ({"overlap": "queue", "missed": "skip"}, [run(1, ended_at=AT - 500)], 501, "skip"),
    ],
)
def test_what_is_done_when_a_time_has_come(keys: Any, runs: list[Run], late: float, what: str) -> None:
    assert due(job(**keys), "r", runs, Moment(AT, AT + 86400, "then"), AT + late).what == what


def test_a_job_of_every_revision_runs_once_for_each() -> None:
    once = job("@deploy")
    assert due(once, "r", [], None, AT).what == "run"
    assert due(once, "r", [run(1, "wanted", kind="deploy")], None, AT).what == "nothing"
    assert due(once, "r", [run(1, "failed", kind="deploy")], None, AT).what == "nothing"
    assert due(once, "s", [run(1, "failed", kind="deploy")], None, AT).what == "run"
    assert due(once, "s", [run(1, "wanted", kind="deploy")], None, AT).what == "wait"
    assert next_time(once, AT) == 0


def copy(**keys: Any) -> Copy:
    return Copy("j-run1-r", "j", 0, "r", "n0", 1, known=True, present=True, run=1, **keys)


@pytest.mark.parametrize(
    ("run_keys", "copy_keys", "state"),
    [
        ({}, {"phase": "running"}, None),
        ({}, {"phase": "exited", "exit_code": 0}, "succeeded"),
        ({}, {"phase": "exited", "exit_code": 2}, "failed"),
        ({}, {"phase": "exited", "exit_code": None}, "lost"),
        ({"timeout": 50.0}, {"phase": "running"}, "timed out"),
        ({"timeout": 50.0}, {"phase": "exited", "exit_code": 0}, "succeeded"),
        ({"stop": "ana ended it"}, {"phase": "running"}, "stopped"),
        ({"stop": "ana ended it"}, {"phase": "exited", "exit_code": 0}, "succeeded"),
        ({}, {"phase": "running", "lost": True}, "lost"),
        ({}, {"phase": "missing"}, "lost"),
        ({}, {"phase": "failed", "detail": "no such image"}, "failed"),
        ({"started_at": AT}, {"phase": "failed"}, None),
    ],
)
def test_how_a_run_ends(run_keys: Any, copy_keys: Any, state: str | None) -> None:
    begun = replace(run(1, "wanted", started_at=AT - 100), **run_keys)
    over, _ = ended(begun, copy(**copy_keys), 60.0, AT)
    assert (over.state if over else None) == state
    assert over is None or over.over


def test_the_names_of_runs_are_told_from_those_of_copies() -> None:
    assert run_number("web", "web-run12-abc") == 12
    assert run_number("web", "web-0-abc") == run_number("web", "web-runs-abc") == run_number("web", "web-run-abc") == 0
    assert run_number("web-run3", "web-run3-0-abc") == 0
    assert run_number("web", run(7).instance) == 0
    assert run_number("j", run(7).instance) == 7


def test_a_run_is_placed_on_one_node_and_never_given_to_a_second() -> None:
    world = World.of(2)
    wanted = desired(app("j", job=job("@deploy")))
    first = next(a for a in plan(wanted, _observed(world, wanted, ()), 1000.0).actions if a.verb == "run")
    assert first.ready
    assert first.run is not None
    again = plan(wanted, _observed(world, wanted, (first.run,)), 1001.0)
    assert not [a for a in again.actions if a.verb == "run"]
    assert [a.verb for a in again.actions] == ["finish"], "without an instance it is lost"


def _observed(world: World, wanted: Desired, runs: tuple[Run, ...]) -> Any:
    deployed = {"j": Revision("j", wanted.apps["j"].rev, "c1", {"origin": ["", ""], "document": {}}, asked_at=1.0)}
    return replace(world.observed(), deployed=deployed, runs=Runs({"j": runs}))


def test_as_a_run_an_app_is_neither_asked_nor_restarted() -> None:
    told = as_run(app("web", port=80, replicas=3, exclusive=True), ("true",))
    assert (told.command, told.port, told.restart, told.replicas, told.exclusive, told.once) == (
        ("true",), None, "no", 1, False, True,
    )  # fmt: skip
    assert as_run(app("web", command=("serve",)), ()).command == ("serve",)
