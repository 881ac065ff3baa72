"""What a place is asked to do, and how its answers are read: pure parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from automator67.engine.apps.rollout import roll
from automator67.engine.apps.routes import edges
from automator67.engine.apps.steps import Placed
from automator67.engine.apps.traffic import traffic
from automator67.engine.capabilities import unfit
from automator67.engine.copies import Copy
from automator67.engine.desired import Access, Node, Origin, Probe, Site, Source, Update, Volume
from automator67.engine.nodes.messages import read_message
from automator67.engine.observed import Instance, NodeView
from automator67.engine.places.converge import Shaped, converge, mark_of, same_attempt, units_of
from automator67.engine.places.protocol import Opened, Seen, SeenUnit, Unit
from automator67.engine.places.report import drifts_of, report
from automator67.engine.places.swarm.reading import epoch_seconds, read
from automator67.engine.places.swarm.spec import differences, service_name, service_spec
from tests.support.world import app, desired

MESSAGE: dict[str, Any] = {
    "id": "web-0-aaaa", "app": "web", "slot": 0, "rev": "aaaa", "epoch": 1, "adopt": None, "runtime": "docker",
    "image": "web:1", "command": ["serve"], "env": {"A": "1"}, "port": 8080, "cpu": 0.5, "memory": 64 * 2**20,
    "volumes": [], "restart": "always", "stop_timeout": 10, "drift": "repair", "user": None,
    "health": {"kind": "http", "target": "/up?a=$(b)", "command": [], "port": None, "interval": 5, "timeout": 2,
               "healthy_after": 1, "unhealthy_after": 3, "start_period": 1},
    "update": {"max_extra": 2, "healthy_for": 3},
}  # fmt: skip


def message(slot: int, rev: str = "aaaa", epoch: int = 1, **keys: Any) -> dict[str, Any]:
    return MESSAGE | {"id": f"web-{slot}-{rev}", "slot": slot, "rev": rev, "epoch": epoch} | keys


def shaped(unit: Unit, opened: Opened | None = None) -> Shaped:
    opened = opened or Opened()
    return Shaped(unit, service_spec("home", "n", unit, opened), opened)


def seen_of(w: Shaped, **keys: Any) -> SeenUnit:
    u = w.unit
    return SeenUnit(u.app, u.rev, u.attempt, u.slots, "id", 7, mark_of(w.shape), w.shape, **keys)


def test_the_revision_assigned_last_counts_for_all_slots() -> None:
    (unit,) = units_of([message(0), message(2), message(0, "bbbb", 2)])
    assert (unit.rev, unit.attempt, unit.slots) == ("bbbb", 2, (0, 2))


def test_what_runs_keeps_its_attempt_so_that_it_is_not_restarted() -> None:
    (unit,) = units_of([message(0, epoch=5)])
    there = Seen({"web": SeenUnit("web", "aaaa", 2, (0,), "id")})
    assert same_attempt([unit], there)[0].attempt == 2
    assert same_attempt([replace(unit, rev="bbbb")], there)[0].attempt == 5


def test_what_is_missing_is_made_what_is_ours_and_unwanted_goes() -> None:
    w = shaped(units_of([message(0)])[0])
    old = SeenUnit("old", "cccc", 1, (0,), "old")
    acts = converge([w], Seen({"old": old}), {})
    assert [(a.verb, a.app, a.seen) for a in acts] == [("create", "web", None), ("remove", "old", old)]
    assert converge([w], Seen({"web": seen_of(w)}), {}) == ()


def test_another_revision_another_count_and_changed_settings_are_updates_with_a_reason() -> None:
    w = shaped(units_of([message(0)])[0])
    seen = Seen({"web": seen_of(w)})

    def why(*messages: Mapping[str, Any]) -> str:
        (act,) = converge([shaped(units_of(messages)[0])], seen, {})
        assert act.verb == "update"
        return act.reason

    assert why(message(0, "bbbb", 2)) == "revision aaaa is replaced by bbbb"
    assert why(message(0), message(1)) == "copies 1 → 2"
    assert why(message(0, update={"max_extra": 0, "healthy_for": 3})) == "its settings changed"


def test_what_the_place_gave_up_is_not_tried_again_until_it_is_assigned_anew() -> None:
    w = shaped(units_of([message(0, "bbbb", 2)])[0])
    there = seen_of(shaped(units_of([message(0)])[0]), gave_up=("bbbb", 2), why="Swarm went back")
    assert converge([w], Seen({"web": there}), {}) == ()
    again = shaped(units_of([message(0, "bbbb", 4)])[0])
    assert [a.verb for a in converge([again], Seen({"web": there}), {})] == ["update"]


def test_drift_is_repaired_reported_or_not_looked_at() -> None:
    for drift, acts in (("repair", 1), ("report", 0), ("off", 0)):
        w = shaped(units_of([message(0, drift=drift)])[0])
        spec = {**w.shape, "Mode": {"Replicated": {"Replicas": 9}}}
        seen = Seen({"web": replace(seen_of(w), shape=spec)})
        drifts = drifts_of([w], seen, differences)
        assert drifts == ({} if drift == "off" else {"web": ("replicas is 9, not 1",)})
        assert len(converge([w], seen, drifts)) == acts


def test_an_app_whose_specification_or_secret_is_not_known_is_left_alone() -> None:
    kept = Unit("web", "aaaa", 1, (0,), {"keep": True})
    there = SeenUnit("web", "aaaa", 1, (0,), "id", mark="another")
    for w in (Shaped(kept), Shaped(replace(kept, message=MESSAGE), trouble="secret db cannot be opened")):
        assert converge([w], Seen({"web": there}), {}) == ()


def test_a_service_says_what_the_app_says() -> None:
    (unit,) = units_of([message(0), message(2)])
    spec = service_spec("lab", "cluster", unit, Opened({"TOKEN": "x"}, (("/run/secrets/db", b"v"),)))
    task = spec["TaskTemplate"]
    assert spec["Name"] == "a67-lab-web"
    assert service_name("home", "web") == "a67-web"
    assert spec["Labels"] | {"a67.slots": "0,2", "a67.node": "cluster", "a67.rev": "aaaa"} == spec["Labels"]
    assert spec["Mode"] == {"Replicated": {"Replicas": 2}}
    assert task["ContainerSpec"]["Env"] == ["A=1", "PORT=8080", "TOKEN=x"]
    assert task["ContainerSpec"]["Secrets"][0]["SecretName"] == "a67-lab-web-aaaa-0"
    assert "v" not in str(task["ContainerSpec"]["Secrets"][0]["File"]["Name"]).split("/")
    assert task["Resources"]["Reservations"] == {"MemoryBytes": 64 * 2**20}
    update = spec["UpdateConfig"]
    assert (update["Parallelism"], update["Order"], update["FailureAction"]) == (2, "start-first", "rollback")
    assert (update["Delay"], update["Monitor"]) == (3_000_000_000, 3_000_000_000)
    assert spec["EndpointSpec"]["Ports"] == [{"Protocol": "tcp", "TargetPort": 8080, "PublishMode": "host"}]
    no_extra = units_of([message(0, update={"max_extra": 0, "healthy_for": 0})])[0]
    update = service_spec("lab", "n", no_extra, Opened())["UpdateConfig"]
    assert (update["Parallelism"], update["Order"], update["Monitor"]) == (1, "stop-first", 1_000_000_000)


def test_what_comes_from_a_file_never_becomes_part_of_a_shell_script() -> None:
    spec = service_spec("home", "n", units_of([message(0)])[0], Opened())
    test = spec["TaskTemplate"]["ContainerSpec"]["Healthcheck"]["Test"]
    assert test[:3] == ["CMD", "sh", "-c"]
    assert "$(b)" not in test[3]
    assert test[5] == "http://127.0.0.1:8080/up?a=$(b)"
    tcp = message(0, health=MESSAGE["health"] | {"kind": "tcp", "port": 5432})
    test = service_spec("home", "n", units_of([tcp])[0], Opened())["TaskTemplate"]["ContainerSpec"]["Healthcheck"]
    assert test["Test"][-1] == "1538"


def test_differences_name_no_secret_value() -> None:
    w = shaped(units_of([message(0)])[0], Opened({"TOKEN": "hunter2"}))
    container = w.shape["TaskTemplate"]["ContainerSpec"]
    other = {**container, "Env": ["A=2", "NEW=hunter3"], "Image": "web:2", "Mounts": [{"Source": "/"}]}
    for empty in ("Hosts", "Configs", "Secrets", "CapabilityAdd", "User", "Command"):
        other.pop(empty)
    seen = {**w.shape, "TaskTemplate": {**w.shape["TaskTemplate"], "ContainerSpec": other}}
    found = differences(w.shape, seen)
    assert set(found) == {
        "image is web:2, not web:1", "env A has another value", "env NEW was added", "env TOKEN is gone",
        "env PORT is gone", "mounts is [{'Source': '/'}], not unset",
    }  # fmt: skip
    assert "hunter" not in str(found)
    assert differences(w.shape, w.shape) == ()


# -- reading a manager's answers ------------------------------------------------------------------------------------


def service(**keys: Any) -> dict[str, Any]:
    w = shaped(units_of([message(0), message(1)])[0])
    return {"ID": "s1", "Version": {"Index": 7}, "Spec": dict(w.shape)} | keys


def task(
    slot: int, state: str, wanted: str = "running", rev: str = "aaaa", at: int = 1, **status: Any
) -> dict[str, Any]:
    labels = {"a67.rev": rev, "a67.epoch": "1"}
    container = {"Image": "web:1", "Labels": labels, "Healthcheck": {"Test": ["CMD", "x"]}}
    when = f"2026-01-01T00:00:{at:02d}.123456789Z"
    return {
        "ID": f"t{slot}{rev}{at}", "ServiceID": "s1", "Slot": slot, "NodeID": "m1", "DesiredState": wanted,
        "CreatedAt": when, "Spec": {"ContainerSpec": container}, "Status": {"State": state, "Timestamp": when} | status,
    }  # fmt: skip


MACHINE: dict[str, Any] = {
    "ID": "m1", "Spec": {"Availability": "active"}, "Status": {"State": "ready", "Addr": "10.0.0.5"},
    "Description": {"Hostname": "m1", "Resources": {"NanoCPUs": 4_000_000_000, "MemoryBytes": 8 * 2**30}},
}  # fmt: skip
PORTS = {"Ports": [{"TargetPort": 8080, "PublishedPort": 32768, "PublishMode": "host"}]}


def look(*tasks: dict[str, Any], services: Any = None, nodes: Any = (MACHINE,)) -> Seen:
    info = {"SystemTime": "2026-01-01T00:01:00Z", "Swarm": {"Cluster": {"ID": "c1"}}}
    return read("home", "n", info, services or [service()], tasks, nodes, "manager")


def states(seen: Seen) -> list[tuple[str, str, str]]:
    return [(i["id"], i["phase"], i["health"]) for i in seen.units["web"].instances]


def test_tasks_are_instances_by_rank_of_their_slot() -> None:
    seen = look(task(2, "running", PortStatus=PORTS), task(5, "starting"))
    assert states(seen) == [("web-0-aaaa", "running", "healthy"), ("web-1-aaaa", "starting", "starting")]
    assert seen.units["web"].instances[0]["address"] == "10.0.0.5:32768"
    assert seen.units["web"].instances[0]["healthy_since"] == epoch_seconds("2026-01-01T00:00:01.123456Z")


def test_old_and_new_are_both_there_while_swarm_replaces_and_one_that_must_stop_is_gone() -> None:
    both = look(task(1, "running"), task(1, "starting", rev="bbbb", at=2), task(2, "running"))
    assert {s[0] for s in states(both)} == {"web-0-aaaa", "web-0-bbbb", "web-1-aaaa"}
    after = look(task(1, "running", "shutdown"), task(1, "running", rev="bbbb", at=2), task(2, "running"))
    assert [s[0] for s in states(after)] == ["web-0-bbbb", "web-1-aaaa"]


def test_why_a_copy_does_not_come_up_is_told_of_the_last_one_that_failed() -> None:
    failed = [task(1, "failed", "shutdown", at=n, Err=f"task: non-zero exit ({n})") for n in (1, 2)]
    seen = look(
        *failed, task(1, "ready", "ready", at=3), task(2, "pending", Err="no suitable node (insufficient memory)")
    )
    first, second = seen.units["web"].instances
    assert (first["phase"], first["restarts"], first["detail"]) == ("starting", 2, "non-zero exit (2)")
    assert (second["phase"], second["detail"]) == ("pending", "no suitable node (insufficient memory)")


def test_a_rollback_names_what_was_given_up_and_why() -> None:
    bad = task(1, "rejected", "shutdown", rev="bbbb", at=2, Err="No such image: web:2")
    seen = look(
        task(1, "running"), task(2, "running"), bad, services=[service(UpdateStatus={"State": "rollback_completed"})]
    )
    unit = seen.units["web"]
    assert unit.gave_up == ("bbbb", 1)
    assert "image web:2 is not in the swarm and could not be pulled" in unit.why
    wanted = shaped(Unit("web", "bbbb", 1, (0, 1), MESSAGE))
    told = report(seen, [wanted], {}, {}, boot_id="b", seq=1, applied="")
    failed = [i for i in told["instances"] if i["rev"] == "bbbb"]
    assert [(i["id"], i["phase"]) for i in failed] == [("web-0-bbbb", "failed"), ("web-1-bbbb", "failed")]


def test_only_our_cloud_and_node_count_and_others_take_their_share_of_the_room() -> None:
    strange = {"ID": "s2", "Version": {"Index": 1}, "Spec": {"Name": "other", "Labels": {"a67.cloud": "work"}}}
    theirs = task(1, "running") | {"ServiceID": "s2"}
    theirs["Spec"] = {"Resources": {"Reservations": {"NanoCPUs": 10**9, "MemoryBytes": 2**30}}}
    down = MACHINE | {
        "ID": "m2",
        "Status": {"State": "down"},
        "Description": {**MACHINE["Description"], "Hostname": "m2"},
    }
    seen = look(theirs, services=[service(), strange], nodes=[MACHINE, down])
    assert (seen.cpu, seen.memory) == (3.0, 7 * 2**30)
    assert [f["name"] for f in seen.foreign] == ["other"]
    assert seen.conditions == ("machine m2 is down",)
    assert list(seen.units) == ["web"]


def test_a_report_of_a_place_is_a_heartbeat_like_any() -> None:
    seen = look(task(1, "running", PortStatus=PORTS), task(2, "new"))
    wanted = shaped(units_of([message(0), message(1), message(2)])[0])
    told = report(seen, [wanted], {"web": ("replicas is 2, not 3",)}, {}, boot_id="place-c1", seq=1, applied="r")
    read_message("heartbeat", json.dumps(told).encode())
    assert [i["id"] for i in told["instances"]] == ["web-0-aaaa", "web-1-aaaa", "web-2-aaaa"]
    assert told["clock"] == epoch_seconds("2026-01-01T00:01:00Z")


def test_a_copy_whose_turn_has_not_come_is_not_reported() -> None:
    seen = look(task(1, "running"), task(2, "running"), services=[service(UpdateStatus={"State": "updating"})])
    wanted = shaped(Unit("web", "bbbb", 2, (0, 1), MESSAGE))
    told = report(seen, [wanted], {}, {}, boot_id="b", seq=1, applied="")
    assert {i["rev"] for i in told["instances"]} == {"aaaa"}
    stuck = report(seen, [wanted], {}, {"web": "the swarm refused: no"}, boot_id="b", seq=1, applied="")
    assert [i["detail"] for i in stuck["instances"] if i["rev"] == "bbbb"] == ["the swarm refused: no"] * 2


# -- how the plan thinks of it --------------------------------------------------------------------------------------


def running(slot: int, rev: str, node: str, **keys: Any) -> Copy:
    return Copy(f"blog-{slot}-{rev}", "blog", slot, rev, node, 1, known=True, present=True, phase="running",
                healthy_since=1.0, **keys)  # fmt: skip


def test_a_swarm_is_handed_the_new_revision_of_all_its_slots_at_once() -> None:
    old, new = app(version="1", replicas=3), app(version="2", replicas=3)
    copies = [running(0, old.rev, "agent"), running(1, old.rev, "swarm"), running(2, old.rev, "swarm")]

    def steps(gate: str = "") -> list[tuple[str, str, bool]]:
        rollout = roll(
            new, copies, now=100.0, place=lambda slot, only: Placed("agent", ""), misplaced=lambda node: "", gate=gate,
            in_place=lambda node: node == "swarm",
        )  # fmt: skip
        assert not rollout.complete
        return [(f"{a.verb} {a.slot}{(a.rev == new.rev and '+') or '-'}", a.node, a.ready) for a in rollout.actions]

    assert steps() == [
        ("start 1+", "swarm", True), ("stop 1-", "swarm", True), ("start 2+", "swarm", True),
        ("stop 2-", "swarm", True),
        ("start 0+", "agent", True), ("stop 0-", "agent", False),
    ]  # fmt: skip
    assert {ready for _, _, ready in steps("waits for app/db to be healthy")} == {False}


def test_what_a_place_gave_up_is_given_up_at_once() -> None:
    new = app(version="2")
    copy = replace(running(0, new.rev, "swarm"), phase="failed", detail="Swarm went back: no image")
    for where, failed in (("swarm", True), ("other", False)):
        rollout = roll(
            new, [copy], now=2.0, place=lambda slot, only: Placed(None, ""), misplaced=lambda node: "",
            in_place=lambda node, where=where: where == "swarm",  # type: ignore[misc]
        )  # fmt: skip
        assert ("Swarm went back: no image" in rollout.failed) is failed


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({}, ""),
        ({"volumes": (Volume("data", "/data"),)}, "without its volumes"),
        ({"update": Update(strategy="canary")}, "update.strategy canary is only for agents"),
        ({"runtime": "process"}, "does not offer the process runtime"),
        ({"adopt": "old"}, "takes over no container"),
        ({"access": Access(privileged=True)}, "nothing of its machines"),
        ({"source": Source("https://git.example.org/blog")}, "not from a source"),
        ({"health": Probe("tcp", port=1, healthy_after=2)}, "health.healthy_after must be 1"),
    ],
)
def test_what_a_swarm_cannot_do_has_a_reason(keys: dict[str, Any], why: str) -> None:
    said = unfit("swarm", app(**keys))
    assert why in said
    assert bool(why) == bool(said)


def test_gateways_are_told_where_copies_without_a_proxy_are() -> None:
    site = replace(app(), port=8080, sites=(Site("blog.test"),))
    nodes = {"gate": Node("gate", Origin("n", "b"), gateway=True), "swarm": Node("swarm", Origin("n", "b"), "swarm")}
    instance = Instance("blog-0-r", "blog", 0, "r", 1, "swarm", "running", address="10.0.0.5:32768")
    views = {"gate": NodeView("gate", "healthy"), "swarm": NodeView("swarm", "healthy", instances=(instance,))}
    copies = {"blog": [running(0, "r", "swarm")]}
    told = edges(desired(site, nodes=nodes), views, copies, traffic, lambda _: "")
    assert list(told) == ["gate"], "a swarm has no proxy to be told anything"
    assert told["gate"]["apps"] == {
        "blog": [{"instance": "blog-0-r", "node": "swarm", "weight": 1, "address": "10.0.0.5:32768"}]
    }
