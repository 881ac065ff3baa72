"""What the Docker Engine says, as values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.agent.docker_http import Frames, percent
from automator67.agent.docker_jobs import pull_problem, start_problem
from automator67.agent.docker_read import Foreign, History, Moment, epoch_seconds, foreign, how_ended, is_ours, seen
from automator67.agent.docker_spec import create_args
from automator67.agent.model import Probe, Volume, Wanted

LABELS = {
    "a67.cloud": "home", "a67.node": "n1", "a67.app": "web", "a67.instance": "web-0-r1", "a67.slot": "0",
    "a67.rev": "r1", "a67.epoch": "3",
}  # fmt: skip


def inspected(**state: Any) -> dict[str, Any]:
    return {
        "Id": "c1", "Name": "/a67-web-0-r1", "RestartCount": 2,
        "State": {"Status": "running", "StartedAt": "2026-02-03T04:05:06.5Z", "Pid": 42} | state,
        "Config": {"Labels": LABELS, "Image": "i:1", "StopTimeout": 3},
        "HostConfig": {"Memory": 100, "NanoCpus": 250_000_000, "RestartPolicy": {"Name": "unless-stopped"}},
        "Mounts": [{"Type": "volume", "Name": "v1"}, {"Type": "bind", "Source": "/x"}],
        "NetworkSettings": {
            "Ports": {
                "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "1234"}], "53/udp": [{"HostPort": "9"}], "81/tcp": None,
            },
            "Networks": {"bridge": {"IPAddress": "172.17.0.2"}},
        },
    }  # fmt: skip


def test_a_running_container() -> None:
    s = seen(inspected(), True, History(exit_code=7, oom=True), Moment(0.0))
    assert (s.handle, s.name, s.state, s.instance, s.app, s.slot, s.rev, s.epoch) == (
        "c1", "a67-web-0-r1", "running", "web-0-r1", "web", 0, "r1", 3,
    )  # fmt: skip
    assert (s.memory, s.cpu, s.restart, s.volumes, s.pid) == (100, 0.25, "unless-stopped", ("v1",), 42)
    assert (s.ports, s.ip) == (((80, "127.0.0.1:1234"),), "172.17.0.2")
    assert (s.restarts, s.stop_timeout) == (2, 3.0)
    # How it ended the last time.
    assert (s.exit_code, s.oom) == (7, True)
    assert s.started == datetime(2026, 2, 3, 4, 5, 6, 500_000, UTC).timestamp()


def test_a_container_that_is_not_ours_shows_no_stamp() -> None:
    assert seen(inspected(), False, History(), Moment(0.0)).instance == ""
    assert is_ours(LABELS, "home", "n1")
    assert not is_ours(LABELS, "home", "n2")
    assert not is_ours(LABELS, "other", "n1")
    assert not is_ours(None, "home", "n1")
    assert not is_ours({"a67.cloud": "home", "a67.node": "n1"}, "home", "n1")


def test_holes_in_what_the_engine_says_do_no_harm() -> None:
    s = seen(
        {"Id": "x", "State": None, "HostConfig": {"CpuQuota": 50_000}, "Mounts": None}, True, History(), Moment(0.0)
    )
    assert (s.state, s.instance, s.cpu) == ("dead", "", 0.5)
    odd = {"State": {"Status": "running"}, "Config": {"Labels": LABELS | {"a67.slot": "x", "a67.epoch": ""}}}
    assert (seen(odd, True, History(), Moment(0.0)).slot, seen(odd, True, History(), Moment(0.0)).epoch) == (0, 0)


@pytest.mark.parametrize(
    ("state", "policy", "history", "moment", "expected"),
    [
        ({}, "unless-stopped", History(), Moment(1000.0), "hand"),
        ({}, "unless-stopped", History(), Moment(100.5), ""),
        ({"Error": "no such file"}, "unless-stopped", History(), Moment(1000.0), "self"),
        ({"ExitCode": 0}, "on-failure", History(), Moment(1000.0), "self"),
        ({"ExitCode": 1}, "on-failure", History(), Moment(1000.0), "hand"),
        ({"ExitCode": 0}, "on-failure", History(by_hand=True), Moment(1000.0), "hand"),
        ({"ExitCode": 1}, "no", History(), Moment(1000.0), "self"),
        ({"ExitCode": 1}, "no", History(by_hand=True), Moment(100.1), "hand"),
        ({}, "unless-stopped", History(by_hand=True), Moment(1000.0, 0, 90.0, 120.0), "daemon"),
        ({}, "unless-stopped", History(by_hand=True), Moment(1000.0, 0, 200.0, 220.0), "hand"),
        ({}, "unless-stopped", History(), Moment(1000.0, boot=60.0), "daemon"),
    ],
)
def test_who_ended_it(state: dict[str, Any], policy: str, history: History, moment: Moment, expected: str) -> None:
    doc = {"StartedAt": "1970-01-01T00:00:50Z", "FinishedAt": "1970-01-01T00:01:40Z", "ExitCode": 137} | state
    assert how_ended(doc, policy, history, moment) == expected


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))
def test_times_are_read_as_the_library_reads_them(at: datetime) -> None:
    at = at.replace(tzinfo=UTC)
    text = at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
    assert epoch_seconds(text) == pytest.approx(at.timestamp(), abs=1e-3)


def test_times_that_are_none() -> None:
    assert epoch_seconds("0001-01-01T00:00:00Z") == 0.0
    assert epoch_seconds("") == epoch_seconds("yesterday") == 0.0


def test_containers_that_are_not_ours() -> None:
    entry = {
        "Names": ["/other/alias", "/theirs"], "Image": "i", "State": "running",
        "Ports": [{"PublicPort": 80}, {"PublicPort": 80}, {"PrivatePort": 1}],
    }  # fmt: skip
    assert foreign(entry) == Foreign("theirs", "i", "running", (80,))


def test_the_frames_of_a_log() -> None:
    data = b"\1\0\0\0\0\0\0\3abc\2\0\0\0\0\0\0\2de"
    assert Frames().feed(data) == [("out", b"abc"), ("err", b"de")]
    assert Frames().feed(b"plain text of a terminal") == [("out", b"plain text of a terminal")]
    assert percent('{"a":["b c"]}') == "%7B%22a%22%3A%5B%22b%20c%22%5D%7D"


def test_what_a_container_is_made_of() -> None:
    w = Wanted(
        "web-0-r1", "web", 0, "r1", 3, image="i:1", command=("serve",), env=(("K", "v"),), port=80, cpu=0.5, memory=9,
        volumes=(Volume("d", "/d"),), health=Probe("tcp", port=81), restart="no", stop_timeout=2.5, user="7",
    )  # fmt: skip
    whose = {"a67.cloud": "home", "a67.node": "n1", "a67.app": "web"}
    assert create_args(w, "/s", "home", "n1", "a67-") == {
        "name": "a67-web-0-r1", "image": "i:1", "command": ["serve"], "env": {"K": "v", "PORT": "80"}, "labels": LABELS,
        "memory": 9, "cpu": 0.5, "ports": [80, 81], "restart": "no", "stop_timeout": 3, "user": "7",
        "state": "/s", "secrets": None,
        "privileged": False, "network": None, "mounts": [], "cap_add": [], "devices": [],
        "cap_drop": ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP"], "pids": 4096,
        "volumes": [{"name": "a67-web-0-d", "path": "/d", "labels": whose | {"a67.slot": "0", "a67.volume": "d"}}],
    }  # fmt: skip


def test_what_went_wrong_in_words() -> None:
    assert pull_problem("x:1", "Get https://r/v2/: dial tcp: lookup r: no such host").startswith(
        "image x:1 is not on this node and no registry answered: Get"
    )
    assert "its registry has none of this name" in pull_problem("x:1", "manifest for x:1 not found: manifest unknown")
    assert (
        pull_problem("x:1", "toomanyrequests: slow\n down")
        == "image x:1 could not be pulled: toomanyrequests: slow down"
    )
    assert (
        start_problem(
            'failed to create task: OCI runtime create failed: exec: "no": executable file not found in $PATH: unknown'
        )
        == 'the command cannot be started: "no": executable file not found in $PATH'
    )
    assert start_problem("port is already allocated") == "it could not be started: port is already allocated"
