"""The rolling update as a pure function: what it starts, what it stops, what it waits for, when it gives up."""

from __future__ import annotations

from dataclasses import replace

from automator67.engine.apps.rollout import roll
from automator67.engine.apps.steps import Placed, Rollout
from automator67.engine.copies import Copy, instance_id
from automator67.engine.desired import App, Update, Volume
from tests.support.world import app

NOW = 1000.0
OLD, NEW = app(version="1"), app(version="2")


def anywhere(_slot: int, only: str | None) -> Placed:
    return Placed(only or "n0", "most room")


def nowhere(_slot: int, _only: str | None) -> Placed:
    return Placed(None, "no room")


def copy_of(a: App, slot: int = 0, *, healthy_for: float = 100.0, node: str = "n0", **keys: object) -> Copy:
    base = Copy(
        instance_id(a.name, slot, a.rev), a.name, slot, a.rev, node, 1, known=True, present=True,
        since=NOW - healthy_for, phase="running", health="healthy", healthy_since=NOW - healthy_for,
    )  # fmt: skip
    return replace(base, **keys)  # type: ignore[arg-type]


def run(a: App, *copies: Copy, place: object = anywhere, **keys: object) -> Rollout:
    args = {"now": NOW, "place": place, "misplaced": lambda _: ""} | keys
    return roll(a, copies, **args)  # type: ignore[arg-type]


def ready(r: Rollout) -> list[str]:
    return [f"{a.verb} {a.instance}" for a in r.actions if a.ready]


def test_new_app_starts_every_replica() -> None:
    r = run(replace(NEW, replicas=3))
    assert ready(r) == [f"start blog-{slot}-{NEW.rev}" for slot in range(3)]
    assert not r.complete


def test_update_starts_new_before_it_stops_old() -> None:
    r = run(NEW, copy_of(OLD))
    assert ready(r) == [f"start blog-0-{NEW.rev}"]
    stop = next(a for a in r.actions if a.verb == "stop")
    assert "healthy for 2s" in stop.waits


def test_old_stops_only_after_the_new_one_was_healthy_long_enough() -> None:
    young = run(NEW, copy_of(OLD), copy_of(NEW, healthy_for=1.0))
    assert ready(young) == []
    assert young.wake_at == NOW + 1.0
    grown = run(NEW, copy_of(OLD), copy_of(NEW, healthy_for=2.0))
    assert ready(grown) == [f"stop blog-0-{OLD.rev}"]


def test_one_extra_copy_at_a_time() -> None:
    old, new = replace(OLD, replicas=3), replace(NEW, replicas=3)
    r = run(new, *(copy_of(old, s) for s in range(3)))
    assert ready(r) == [f"start blog-0-{new.rev}"]
    assert sum(a.verb == "start" for a in r.actions) == 3, "the rest of the way is shown too"


def test_unhealthy_old_copies_leave_at_once() -> None:
    r = run(NEW, copy_of(OLD, phase="exited", health="starting", healthy_since=0.0))
    assert set(ready(r)) == {f"start blog-0-{NEW.rev}", f"stop blog-0-{OLD.rev}"}


def test_copies_on_a_silent_node_are_left_alone_until_it_reports() -> None:
    r = run(NEW, copy_of(OLD, known=False, present=False, phase="pending", health="none"))
    assert not [a for a in r.actions if a.verb == "stop" and a.ready]


def test_lost_node_is_replaced_elsewhere() -> None:
    r = run(NEW, copy_of(NEW, lost=True), proven=True)
    assert set(ready(r)) == {f"start blog-0-{NEW.rev}", f"stop blog-0-{NEW.rev}"}
    start = next(a for a in r.actions if a.verb == "start")
    assert start.epoch == 2


def test_deadline_gives_the_revision_up_with_the_reason() -> None:
    r = run(NEW, copy_of(OLD), copy_of(NEW, phase="exited", health="starting", since=NOW - 61, detail="exit code 1"))
    assert r.failed == f"blog-0-{NEW.rev} was not healthy within 1m: exit code 1"


def test_a_proven_revision_is_never_given_up() -> None:
    r = run(NEW, copy_of(NEW, phase="exited", health="starting", since=NOW - 9000), proven=True)
    assert r.failed == ""


def test_dependency_holds_back_starts_in_words() -> None:
    r = run(NEW, gate="waits for app/db to be healthy")
    assert ready(r) == []
    assert r.actions[0].waits == "waits for app/db to be healthy"


def test_no_room_beside_the_old_copy_stops_it_first() -> None:
    r = run(NEW, copy_of(OLD), place=nowhere)
    assert ready(r) == [f"stop blog-0-{OLD.rev}"]
    assert next(a for a in r.actions if a.verb == "stop").risk == "restarts"


def test_no_extra_allowed_replaces_one_by_one() -> None:
    update = Update(max_extra=0, healthy_for=0.0)
    old, new = replace(OLD, replicas=3, update=update), replace(NEW, replicas=3, update=update)
    r = run(new, *(copy_of(old, s) for s in range(3)))
    assert ready(r) == [f"stop blog-0-{old.rev}"]


def test_scaling_down_stops_the_highest_slots() -> None:
    big = replace(NEW, replicas=3)
    r = run(NEW, *(copy_of(big, s) for s in range(3)), proven=True)
    assert sorted(ready(r)) == [f"stop blog-1-{NEW.rev}", f"stop blog-2-{NEW.rev}"]


def test_an_app_with_a_volume_stops_before_it_starts_and_stays_on_its_node() -> None:
    volume = (Volume("data", "/data"),)
    old, new = replace(OLD, volumes=volume), replace(NEW, volumes=volume)
    r = run(new, copy_of(old, node="n1"))
    assert [(a.verb, a.node) for a in r.actions] == [("stop", "n1"), ("start", "n1")]
    assert r.actions[1].after == (r.actions[0].id,)


def test_an_app_with_a_volume_waits_for_its_lost_node() -> None:
    pinned = replace(NEW, volumes=(Volume("data", "/data"),))
    r = run(pinned, copy_of(pinned, node="n1", lost=True), proven=True)
    assert r.actions == []
    assert "waits for node n1" in r.blocked[0]


def test_found_copies_are_kept() -> None:
    r = run(NEW, copy_of(NEW, assigned=False), proven=True)
    assert ready(r) == [f"keep blog-0-{NEW.rev}"]
    assert r.complete


def test_complete_when_all_ready_and_nothing_old_runs() -> None:
    assert run(NEW, copy_of(NEW)).complete
    assert run(NEW, copy_of(NEW)).actions == []


def test_no_deadline_runs_while_a_node_cannot_know() -> None:
    old = copy_of(NEW, phase="pending", health="none", healthy_since=0.0, since=NOW - 900)
    assert run(NEW, old).failed
    assert run(NEW, replace(old, present=False)).failed == "", "its node has not heard of it"
    assert not run(NEW, replace(old, appeared_at=NOW - 5)).failed, "its node could not be told for long"
    fresh = run(NEW, old, told_since=NOW - 5)
    assert (fresh.failed, fresh.wake_at) == ("", NOW + 55), "the engine was away until 5 s ago"
