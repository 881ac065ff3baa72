"""What apps may have of a node: the policy file, the comparison, what validation says, and who refuses what."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from automator67.agent import policy_file
from automator67.agent.desired import DesiredError, parse
from automator67.agent.docker_spec import create_args
from automator67.agent.model import Access, Mount
from automator67.engine.apps.revisions import from_spec, to_spec
from automator67.engine.instances import desired_instances
from automator67.engine.nodes.placement import Ledger, place
from automator67.engine.nodes.reading import read_report
from automator67.engine.observed import Assignment
from automator67.schemas.messages.policy import Demands, Policy, as_message, read_policy, refusal
from tests.unit.test_load import app, load
from tests.unit.test_placement import node, node_view

DEMANDS: Mapping[str, tuple[Demands, Policy, str]] = {
    "privileged": (
        Demands(privileged=True), Policy(privileged=True),
        "privileged containers are not allowed (policy.toml: privileged = true)",
    ),
    "network": (Demands(host_network=True), Policy(host_network=True), "the host's network is not allowed"),
    "mount": (
        Demands(mounts=(("/srv/media", False),)), Policy(mounts=("/srv",)),
        'the host mount /srv/media is not allowed (policy.toml: mounts = ["/srv/media"])',
    ),
    "read-only mount": (
        Demands(mounts=(("/srv/media", True),)), Policy(mounts=("/srv/media:ro",)), 'mounts = ["/srv/media:ro"]',
    ),
    "socket": (
        Demands(mounts=(("/run/docker.sock", False),)), Policy(docker_socket=True), "docker_socket = true",
    ),
    "directory of the socket": (
        Demands(mounts=(("/var/run", True),)), Policy(docker_socket=True, mounts=("/var/run:ro",)),
        "the mount /var/run with the Docker socket is not allowed",
    ),
    "capability": (Demands(capabilities=("NET_ADMIN",)), Policy(capabilities=("NET_ADMIN",)), "capability NET_ADMIN"),
    "device": (Demands(devices=("/dev/kvm",)), Policy(devices=("/dev/kvm",)), "the device /dev/kvm is not allowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEMANDS)
def test_each_demand_needs_its_own_permission(name: str) -> None:
    demands, enough, words = DEMANDS[name]
    assert words in refusal(demands, Policy())
    assert refusal(demands, Policy()).startswith("refused by this node's policy: ")
    assert refusal(demands, enough) == ""
    others = Policy(True, True, True, ("/opt",), ("SYS_TIME",), ("/dev/null",), True)
    assert words in refusal(demands, others._replace(**{k: getattr(Policy(), k) for k in _given(enough)}))


def _given(policy: Policy) -> list[str]:
    return [key for key, value in policy._asdict().items() if value and key != "mounts"]


def test_mounts_are_compared_by_whole_names() -> None:
    policy = Policy(mounts=("/srv/media", "/data:ro"))
    for path, read_only, fine in (
        ("/srv/media", False, True), ("/srv/media/a", False, True), ("/srv/media2", False, False),
        ("/srv", True, False), ("/data/x", True, True), ("/data/x", False, False), ("/", True, False),
    ):  # fmt: skip
        assert (refusal(Demands(mounts=((path, read_only),)), policy) == "") is fine, path
    everything = Policy(mounts=("/",))
    assert refusal(Demands(mounts=(("/etc", False),)), everything) == ""
    assert "docker_socket" in refusal(Demands(mounts=(("/", True),)), everything)


def test_capabilities_that_docker_gives_by_itself_need_no_permission() -> None:
    assert refusal(Demands(capabilities=("NET_RAW", "MKNOD")), Policy()) == ""


def test_a_policy_is_reported_and_read_back() -> None:
    policy = Policy(True, False, True, ("/srv:ro",), ("NET_ADMIN",), (), True)
    assert read_policy(as_message(policy)) == policy
    assert as_message(Policy()) == {}
    report = read_report("n", {"clock": 1, "policy": as_message(policy)}, 1.0)
    assert report.policy == policy
    assert read_report("n", {"clock": 1, "policy": {"new_thing": True}}, 1.0).policy == Policy()


def test_the_file_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    assert policy_file.read(str(path)) == {"policy": {}, "problem": ""}
    path.write_text('privileged = true\nmounts = ["/srv:ro"]\nexec = true\n')
    path.chmod(0o644)
    assert policy_file.read(str(path))["policy"] == {"privileged": True, "mounts": ["/srv:ro"], "exec": True}
    for text, problem in (
        ("privilege = true", "there is no key privilege"),
        ("privileged = 1", "privileged must be true or false"),
        ("mounts = '/srv'", "mounts must be a list of texts"),
        ("mounts = ['srv']", "mounts must be absolute paths"),
        ("privileged = ", "Invalid value"),
    ):
        path.write_text(text)
        found = policy_file.read(str(path))
        assert found["policy"] == {}
        assert problem in found["problem"]
    path.write_text("exec = true")
    path.chmod(0o666)
    assert "can be changed by others than root" in policy_file.read(str(path))["problem"]


def test_links_on_the_host_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    file = policy_file.PolicyFile("", str(tmp_path / "docker.sock"), None, lambda _: None)  # type: ignore[arg-type]
    file.current = Policy(mounts=(str(tmp_path),))
    assert file.refuses(Access(mounts=(Mount(f"{tmp_path}/plain", "/x"),))).count("docker_socket") == 0
    assert "/etc" in file.refuses(Access(mounts=(Mount(f"{tmp_path}/link", "/x"),)))
    assert "docker_socket" in file.refuses(Access(mounts=(Mount(str(tmp_path), "/x"),)))


KEYS: dict[str, Any] = {
    "privileged": True, "network": "host", "capabilities": ["NET_ADMIN"], "devices": ["/dev/kvm"],
    "mounts": [{"host": "/srv/media", "path": "/media", "read_only": True}],
}  # fmt: skip


def test_an_app_carries_its_demands_to_the_container() -> None:
    plain, demanding = app("image: a"), app({"image": "a", **KEYS})
    assert plain.rev != demanding.rev
    assert from_spec(to_spec(demanding)) == demanding
    (message,) = desired_instances(
        [Assignment("blog-0-x", "blog", 0, "x", "n", 1, "run", 0.0, "c")], ["n"], lambda *_: demanding
    )["n"]
    sent = json.loads(json.dumps({"rev": "r", "node": "n", "cloud": "home", "instances": [message]}))
    (wanted,) = parse(sent).instances
    args = create_args(wanted, "/s", "home", "n", "a67-")
    assert (args["privileged"], args["network"], args["cap_add"]) == (True, "host", ["NET_ADMIN"])
    assert (args["devices"], args["cap_drop"]) == (["/dev/kvm"], [])
    assert args["mounts"] == [{"host": "/srv/media", "path": "/media", "read_only": True}]
    (quiet,) = desired_instances(
        [Assignment("blog-0-x", "blog", 0, "x", "n", 1, "run", 0.0, "c")], ["n"], lambda *_: plain
    )["n"]
    assert "access" not in quiet, "messages of apps that demand nothing stay as they were"
    (bare,) = parse({"rev": "r", "node": "n", "cloud": "home", "instances": [quiet]}).instances
    assert create_args(bare, "/s", "home", "n", "a67-")["cap_drop"] == ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP"]


def test_nothing_is_placed_where_the_policy_would_refuse_it() -> None:
    wanted = app({"image": "a", "privileged": True})
    views = {n: node_view(n) for n in ("strict", "lax")}
    nodes = {n: node(n) for n in views}
    refused = place(wanted, 0, Ledger({"strict": nodes["strict"]}, views))
    assert refused.node is None
    assert refused.reason == f"strict: {refusal(Demands(privileged=True), Policy())}"
    views["lax"] = views["lax"].__class__(
        **{f: getattr(views["lax"], f) for f in views["lax"].__slots__} | {"policy": Policy(privileged=True)}
    )
    assert place(wanted, 0, Ledger(nodes, views)).node == "lax"
    assert place(app("image: a"), 0, Ledger({"strict": nodes["strict"]}, views)).node == "strict"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("command: [x]\nprivileged: true", "a plain process has no privileged of its own"),
        ("image: a\nruntime: docker\nmounts: [{host: /a/../etc, path: /x}]", "not the shortest way"),
        ("image: a\nmounts: [{host: '/a:b', path: /x}]", "mounts"),
        ("image: a\nmounts: [{host: /a, path: /}]", "over the whole container"),
        ("image: a\nmounts: [{host: /a, path: /x}]\nvolumes: [{name: d, path: /x}]", "two things are mounted at /x"),
        ("image: a\ndevices: [/dev/a/../../etc/passwd]", "is not a device"),
        ("image: a\ndevices: [/etc/passwd]", "devices"),
        ("image: a\ncapabilities: [net_admin]", "capabilities"),
        ("image: a\nnetwork: hots", "network"),
    ],
)
def test_bad_demands_are_named(document: str, words: str) -> None:
    loaded = load({"apps/blog.yaml": document})
    assert loaded.desired is None
    assert any(words in str(p) for p in loaded.problems), [str(p) for p in loaded.problems]


def test_the_agent_checks_what_it_is_told() -> None:
    base = {"id": "a-0-x", "app": "a", "slot": 0, "rev": "x", "epoch": 1, "runtime": "docker", "image": "a"}
    for bad in (
        {"access": {"mounts": [{"host": "/a/../b", "path": "/x"}]}},
        {"access": {"mounts": [{"host": "/a:/b", "path": "/x"}]}},
        {"access": {"mounts": [{"host": "a", "path": "/x"}]}},
        {"access": {"devices": ["/dev/a b"]}},
        {"access": {"capabilities": ["net;admin"]}},
        {"access": {"privileged": "yes"}},
        {"image": "--privileged"},
        {"image": "a b"},
        {"user": "-u"},
    ):
        with pytest.raises(DesiredError):
            parse({"rev": "r", "node": "n", "cloud": "c", "instances": [base | bad]})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_allows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("exec = true")
    os.chown(path, 12345, 12345)
    assert policy_file.read(str(path))["policy"] == {}
