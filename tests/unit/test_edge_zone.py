"""What each kind of name stands for."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.agent.edge import dns
from automator67.agent.edge.dns import AAAA, LONGEST, SRV, A, Question, Service
from automator67.agent.edge.table import Table, parse
from automator67.agent.edge.zone import NOBODY, Standing, records

GATE, MESH, FAR = 4000, 4001, 4002
HERE = "7f000001.a67"


def table(**more: Any) -> Table:
    return parse({
        "node": "one", "gateway": {},
        "sites": [
            {"host": "web.test", "app": "web"}, {"host": "away.test", "app": "away"}, {"host": "none.test",
            "app": "none"},
            {"host": "*.wild.test", "app": "web"}, {"host": "old.test", "redirect": "web.test"},
            {"host": "paths.test", "app": "web"}, {"host": "paths.test", "path": "/away", "app": "away"},
            {"host": "only.test", "path": "/away", "app": "away"},
            {"host": "few.test", "app": "web", "allow": ["10.0.0.0/8"]},
            {"host": "known.test", "app": "web", "basic": {"ana": "$argon2id$x"}},
        ],
        "apps": {
            "web": [{"instance": "w0", "node": "one"}, {"instance": "w1", "node": "two"}],
            "away": [{"instance": "a0", "node": "two"}], "none": [],
        },
        "nodes": {"one": "10.0.0.1:6768", "two": "two.test:7000", "six": "[fd00::6]:6768"},
        "local": {"w0": {"address": "127.0.0.1:20007", "up": True}},
    } | more)  # fmt: skip


def ask(
    name: str, kind: int = SRV, *, down: tuple[str, ...] = (), held: tuple[str, ...] = (), of: Table | None = None
) -> Any:
    addresses = {"two.test": ["10.0.0.2", "fd00::2"]}
    standing = Standing(down, held, GATE, MESH, FAR)
    return records(of or table(), name, kind, standing, 0.5, lambda host: addresses.get(host, []))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        # A gateway, by host and by app: a copy here and the way to other nodes; and what is on that way.
        ("web.test.g.a67", {(HERE, 20_007), (HERE, MESH)}),
        ("web.ga.a67", {(HERE, 20_007), (HERE, MESH)}),
        ("away.ga.a67", {(HERE, MESH)}),
        ("web.test.m.a67", {("two.node.a67", 7000)}),
        ("away.ma.a67", {("two.node.a67", 7000)}),
        ("none.ma.a67", {(HERE, NOBODY)}),
        # A proxy: copies here alone.
        ("web.test.h.a67", {(HERE, 20_007)}),
        ("web.ha.a67", {(HERE, 20_007)}),
        ("some.wild.test.h.a67", {(HERE, 20_007)}),
        ("away.ha.a67", {(HERE, NOBODY)}),
        ("away.test.h.a67", {(HERE, NOBODY)}),
        ("nowhere.test.h.a67", {(HERE, NOBODY)}),
        ("nothing.ha.a67", {(HERE, NOBODY)}),
        ("nothing.ga.a67", {(HERE, NOBODY)}),
        # What needs a decision each.
        *((f"{host}.g.a67", {(HERE, GATE)}) for host in (
            "some.wild.test", "old.test", "paths.test", "only.test", "few.test", "known.test", "none.test",
            "nowhere.test", "deep.some.wild.test", "*.wild.test", "wild.test",
        )),
    ],
)  # fmt: skip
def test_what_a_service_name_stands_for(name: str, found: set[tuple[str, int]]) -> None:
    assert {(s.target, s.port) for s in ask(name)} == found


def test_a_host_with_paths_is_by_host_alone_only_what_is_at_its_root() -> None:
    # A gateway with an older table asks so; the app of a path is not what it means.
    assert ask("paths.test.h.a67") == [Service(HERE, 20_007)]
    assert ask("only.test.h.a67") == [Service(HERE, NOBODY)]


def test_requests_of_a_held_app_wait_and_then_are_told() -> None:
    assert ask("none.test.g.a67", held=("none",)) == [Service(HERE, NOBODY)]
    assert ask("none.ga.a67", held=("none",)) == [Service(HERE, NOBODY)]
    assert ask("none.test.g.a67") == [Service(HERE, GATE)]


def test_a_proxy_that_is_down_is_left_out_unless_it_is_the_last() -> None:
    assert ask("web.test.g.a67", down=("two",)) == [Service(HERE, 20_007)]
    assert ask("away.test.g.a67", down=("two",)) == [Service(HERE, MESH)]
    assert ask("away.test.m.a67", down=("two",)) == [Service("two.node.a67", 7000)]


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("7f000001.a67", A, ["127.0.0.1"]),
        ("00000000000000000000000000000001.a67", AAAA, ["::1"]),
        ("two.node.a67", A, ["10.0.0.2", "fd00::2"]),
        ("one.node.a67", A, ["10.0.0.1"]),
        ("six.node.a67", AAAA, ["fd00::6"]),
        ("gone.node.a67", A, None),
        ("two.node.a67", SRV, []),
        ("7f000001.a67", SRV, []),
        ("web.test.g.a67", A, []),
        ("7f0000.a67", A, None),
        ("x.a67", A, None),
        ("a67", A, None),
        ("", A, None),
        ("web.test", SRV, None),
        ("web.test.x.a67", SRV, None),
        ("web.test.g.a67.example.org", SRV, None),
    ],
)
def test_addresses_and_unknown_names(name: str, kind: int, found: list[str] | None) -> None:
    assert ask(name, kind) == found


def test_a_copy_at_an_ipv6_address_is_written_in_its_name() -> None:
    t = table(local={"w0": {"address": "[::1]:8080", "up": True}})
    found = ask("web.ha.a67", of=t)
    assert found == [Service("00000000000000000000000000000001.a67", 8080)]
    assert ask(found[0].target, AAAA, of=t) == ["::1"]
    assert ask("web.ha.a67", of=table(local={"w0": {"address": "localhost:80", "up": True}})) == [Service(HERE, 80)]


@given(st.text(max_size=60), st.sampled_from(["", ".g", ".ga", ".h", ".ha", ".node"]), st.sampled_from([A, SRV, AAAA]))
def test_no_name_raises_and_no_known_zone_is_ever_empty(text: str, zone: str, kind: int) -> None:
    found = ask(f"{text}{zone}.a67", kind)
    if zone in (".g", ".ga", ".h", ".ha") and text and kind == SRV:
        assert found


def test_long_names_keep_their_shares() -> None:
    # Records that do not fit are cut off, and would always be those of the same node.
    far = ["a" * 60, "b" * 60]
    t = table(
        apps={"web": [{"instance": "w0", "node": far[0], "weight": 9}, {"instance": "w1", "node": far[1],
        "weight": 1}]},
        nodes={node: f"10.0.0.{n}:6768" for n, node in enumerate(far)},
    )  # fmt: skip
    name = f"{'h' * 60}.{'i' * 60}.test.m.a67"
    t = t._replace(sites={name.removesuffix(".m.a67"): (t.sites["web.test"][0]._replace(host=name[:-6]),)})
    rng, counted = random.Random(7), dict.fromkeys(far, 0)
    for _ in range(2000):
        found = records(t, name, SRV, Standing((), (), GATE, MESH, FAR), rng.random(), lambda _: [])
        wire = dns.answer(Question(1, name, SRV, b"x" * (len(name) + 6)), found)
        assert len(wire) <= LONGEST
        assert int.from_bytes(wire[6:8], "big") == len(found or ())
        for service in found or ():
            assert isinstance(service, Service)
            counted[service.target.partition(".")[0]] += 1
    assert counted[far[0]] / sum(counted.values()) == pytest.approx(0.9, abs=0.01)
