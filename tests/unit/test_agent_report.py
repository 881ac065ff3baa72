"""What the engine is told of an instance, from what was seen and known."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema
import pytest

from automator67.agent.address import address_of
from automator67.agent.model import Probe, Retry, Seen, Use, Wanted
from automator67.agent.probe import Standing
from automator67.agent.report import (
    Clock,
    Knowledge,
    health,
    how_it_ended,
    instance_entry,
    phase_and_detail,
    significant,
)

WEB = Wanted("web-0-r1", "web", 0, "r1", 1, image="i:1", memory=100, cpu=0.5, port=80)
PROBED = WEB._replace(health=Probe("http", "/"))
SEEN = Seen(
    "docker", "c1", "a67-web-0-r1", "running", "web-0-r1", "web", 0, "r1", 1, started=900.0,
    memory=100, cpu=0.5, restart="unless-stopped", ports=((80, "127.0.0.1:1234"),), ip="172.17.0.2",
)  # fmt: skip
CLOCK = Clock(monotonic=50.0, epoch=1000.0)
RETRY = Retry(1, 99.0, "no image")


@pytest.mark.parametrize(
    ("change", "known", "phase", "detail"),
    [
        (None, {}, "pending", ""),
        (None, {"waits": "waits until x"}, "pending", "waits until x"),
        (None, {"progress": "starting"}, "starting", "starting"),
        (None, {"progress": "pulling i:1: 1 of 3 layers"}, "pulling", "pulling i:1: 1 of 3 layers"),
        (None, {"retry": RETRY}, "failed", "no image"),
        (None, {"runtime": ""}, "pending", "this node does not offer the docker runtime"),
        (None, {"runtime": "down"}, "pending", "the docker runtime is down"),
        (None, {"runtime": "degraded"}, "pending", "the docker runtime does not answer"),
        (None, {"made": True}, "pending", ""),
        ({}, {}, "running", ""),
        ({"state": "paused"}, {}, "paused", "paused by hand"),
        ({"state": "created"}, {}, "starting", ""),
        ({"state": "created"}, {"retry": RETRY}, "failed", "no image"),
        ({"state": "exited", "ended": "hand", "exit_code": 0}, {}, "exited", "stopped by hand; ended with exit code 0"),
        ({"state": "exited", "ended": "self", "exit_code": 1}, {}, "failed", "ended with exit code 1"),
        ({"state": "exited", "ended": "hand", "exit_code": 1}, {"progress": "starting"}, "starting", "starting"),
        ({"state": "restarting", "exit_code": 3, "last_line": "no db"}, {}, "failed", "ended with exit code 3: no db"),
        ({"state": "restarting", "oom": True}, {}, "failed", "killed: out of memory (its limit is 9.53674e-05 MiB)"),
    ],
)
def test_phases(change: dict[str, Any] | None, known: dict[str, Any], phase: str, detail: str) -> None:
    seen = None if change is None else SEEN._replace(**change)
    assert phase_and_detail(WEB, seen, Knowledge(**known)) == (phase, detail)


def test_phases_that_depend_on_what_is_wanted() -> None:
    made = Knowledge(made=True)
    assert phase_and_detail(WEB._replace(drift="report"), None, made) == ("missing", "it was removed by hand")
    assert phase_and_detail(WEB._replace(keep=True), None, made)[0] == "missing"
    ended = SEEN._replace(state="exited", ended="self", exit_code=0)
    assert phase_and_detail(WEB._replace(restart="no"), ended, made)[0] == "exited"
    assert phase_and_detail(WEB._replace(restart="on-failure"), ended, made)[0] == "exited"
    assert phase_and_detail(WEB._replace(restart="on-failure"), ended._replace(exit_code=None), made)[0] == "failed"
    assert phase_and_detail(None, SEEN, made) == ("running", "")


def test_health() -> None:
    good = Standing(40.0, "healthy", 45.0)
    assert health(PROBED, SEEN, good, CLOCK) == ("healthy", 995.0)
    assert health(PROBED, SEEN, Standing(40.0), CLOCK) == ("starting", 0.0)
    assert health(PROBED, SEEN, Standing(40.0, "unhealthy"), CLOCK) == ("unhealthy", 0.0)
    assert health(PROBED, None, None, CLOCK) == ("starting", 0.0)
    assert health(PROBED, SEEN._replace(state="exited"), None, CLOCK) == ("unhealthy", 0.0)
    assert health(WEB, SEEN, None, CLOCK) == ("none", 900.0)
    # A container that says it started in the future (the clock was set back) has not been healthy for less than 0 s.
    assert health(WEB, SEEN._replace(started=5000.0), None, CLOCK) == ("none", 1000.0)
    assert health(WEB, None, None, CLOCK) == ("none", 0.0)


def test_a_jump_of_the_clock_shifts_all_times_alike() -> None:
    late = Clock(monotonic=60.0, epoch=1010.0 + 3600.0)
    good = Standing(40.0, "healthy", 45.0)
    before, after = health(PROBED, SEEN, good, CLOCK)[1], health(PROBED, SEEN, good, late)[1]
    assert CLOCK.epoch - before == 5.0
    assert late.epoch - after == 15.0


def test_every_entry_follows_the_schema() -> None:
    file = resources.files("automator67.schemas.messages") / "heartbeat.schema.json"
    schema = json.loads(file.read_text())
    validator = jsonschema.Draft202012Validator(schema["$defs"]["instance"] | {"$defs": schema["$defs"]})
    long = "x" * 3000
    odd = SEEN._replace(instance=long[:128], app="", rev=long, image=long, last_line=long, name=long, state="exited")
    cases = [
        (WEB, None, Knowledge()), (WEB, SEEN, Knowledge(use=Use(0.1, 5))), (None, odd, Knowledge()),
        (WEB, odd._replace(instance="web-0-r1"), Knowledge(retry=Retry(1, 0.0, long))),
        (WEB._replace(drift="report"), odd._replace(instance="x", ended="hand"), Knowledge()),
    ]  # fmt: skip
    for w, s, known in cases:
        validator.validate(instance_entry(w, s, known, 10.0, CLOCK, "a67-"))


def test_an_entry() -> None:
    known = Knowledge(standing=Standing(40.0, "healthy", 45.0), use=Use(0.25, 1000))
    seen = SEEN._replace(epoch=0, restarts=2, image="i:1@sha", exit_code=1)
    assert instance_entry(PROBED, seen, known, 44.0, CLOCK, "a67-") == {
        "id": "web-0-r1", "app": "web", "slot": 0, "rev": "r1", "epoch": 0, "phase": "running", "health": "healthy",
        "since": 994.0, "healthy_since": 995.0, "restarts": 2, "exit_code": 1, "oom": False, "detail": "",
        "address": "127.0.0.1:1234", "drift": [], "image": "i:1@sha", "cpu": 0.25, "memory": 1000,
    }  # fmt: skip


def test_only_what_matters_is_told_at_once() -> None:
    entry = instance_entry(WEB, SEEN, Knowledge(use=Use(0.1, 5)), 44.0, CLOCK, "a67-")
    report = {
        "instances": [entry], "rev_seen": "r", "rev_applied": "r", "runtimes": {}, "foreign": [], "volumes": [],
        "conditions": [], "policy": {}, "edge": {}, "usage": {"cpu": 1},
    }  # fmt: skip
    later = report | {"instances": [entry | {"cpu": 0.9, "memory": 9, "since": 1.0}], "usage": {"cpu": 2}}
    assert significant(report) == significant(later)
    for change in ({"phase": "exited"}, {"health": "healthy"}, {"detail": "x"}, {"drift": ["x"]}, {"restarts": 1}):
        assert significant(report) != significant(report | {"instances": [entry | change]})
    assert significant(report) != significant(report | {"conditions": ["disk_pressure"]})


def test_where_an_instance_is_reached() -> None:
    assert address_of(WEB, SEEN, None) == "127.0.0.1:1234"
    assert address_of(WEB, SEEN, 81) == ""
    assert address_of(WEB._replace(port=None), SEEN, None) == ""
    # An adopted container that publishes nothing is asked at its own address.
    assert address_of(WEB, SEEN._replace(instance="", ports=()), None) == "172.17.0.2:80"
    process = SEEN._replace(runtime="process", ports=((80, "127.0.0.1:20001"),))
    assert address_of(WEB, process, None) == "127.0.0.1:20001"
    assert address_of(WEB, process._replace(ports=((20001, "127.0.0.1:20001"),)), None) == "127.0.0.1:20001"
    assert address_of(WEB, process, 90) == "127.0.0.1:90"


def test_how_it_ended() -> None:
    said = "[FATAL tini (7)] exec serve failed: No such file or directory"
    assert (
        how_it_ended(SEEN._replace(exit_code=127, last_line=said))
        == "the command cannot be started: serve failed: No such file or directory"
    )
    assert how_it_ended(SEEN._replace(exit_code=None)) == "ended with an unknown exit code"
    assert how_it_ended(SEEN._replace(error="boom\nbang")) == "it could not be started: boom bang"
