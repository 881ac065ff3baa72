"""Our DNS messages, read by dnspython; and bytes that are none."""

from __future__ import annotations

import ipaddress
import struct

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.agent.edge.dns import AAAA, LONGEST, SRV, A, Question, Service, answer, parse_query, room

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join).filter(lambda name: len(name) <= 253)


def asked(name: str, kind: str = "SRV", **more: object) -> bytes:
    return dns.message.make_query(name, kind, **more).to_wire()


def question(name: str, kind: str = "SRV") -> Question:
    found = parse_query(asked(name, kind))
    assert found is not None
    return found


@given(NAME, st.sampled_from(["SRV", "A", "AAAA", "TXT"]), st.booleans())
def test_what_others_ask_is_read_as_they_meant_it(name: str, kind: str, modern: bool) -> None:
    query = dns.message.make_query(name.upper(), kind, use_edns=modern)
    found = parse_query(query.to_wire())
    assert found is not None
    assert (found.id, found.name) == (query.id, name)
    assert found.kind == {"SRV": SRV, "A": A, "AAAA": AAAA, "TXT": 16}[kind]


@given(NAME, st.lists(st.tuples(NAME, st.integers(1, 65535), st.integers(0, 65535)), max_size=60))
def test_services_arrive_as_they_were_sent(name: str, services: list[tuple[str, int, int]]) -> None:
    sent = [Service(*s) for s in services]
    q = question(name)
    wire = answer(q, sent)
    got = dns.message.from_wire(wire)
    assert len(wire) <= LONGEST
    assert (got.id, got.rcode()) == (q.id, dns.rcode.NOERROR)
    assert got.flags & dns.flags.QR
    assert got.question[0].name.to_text(omit_final_dot=True) == name
    read = {(r.target.to_text(omit_final_dot=True), r.port, r.priority) for rrset in got.answer for r in rrset}
    assert read <= {tuple(s) for s in sent}
    assert bool(read) == bool(sent)
    assert all(rrset.ttl == 0 and rrset.name == got.question[0].name for rrset in got.answer)


@given(NAME, st.lists(st.ip_addresses(v=4), min_size=1, max_size=5), st.lists(st.ip_addresses(v=6), max_size=5))
def test_addresses_arrive_and_each_kind_only_where_asked(
    name: str, four: list[ipaddress.IPv4Address], six: list[ipaddress.IPv6Address]
) -> None:
    both = [str(a) for a in (*four, *six)]
    for kind, wanted in (("A", four), ("AAAA", six), ("TXT", [])):
        got = dns.message.from_wire(answer(question(name, kind), both))
        assert {ipaddress.ip_address(r.to_text()) for rrset in got.answer for r in rrset} == set(wanted)


def test_no_such_name_is_not_the_same_as_no_record() -> None:
    assert dns.message.from_wire(answer(question("x.a67"), None)).rcode() == dns.rcode.NXDOMAIN
    assert dns.message.from_wire(answer(question("x.a67"), [])).rcode() == dns.rcode.NOERROR


@given(NAME, NAME, st.integers(1, 100))
def test_as_many_services_fit_as_we_say(name: str, target: str, count: int) -> None:
    most = room(name, target)
    wire = answer(question(name), [Service(target, 80)] * count)
    assert struct.unpack_from(">H", wire, 6)[0] == min(count, most)


@given(st.binary(max_size=600))
def test_bytes_that_are_no_question_are_not_answered_with_nonsense(data: bytes) -> None:
    found = parse_query(data)
    if found is not None:
        reply = answer(found, None)
        assert reply[:2] == data[:2]
        assert reply[12:] == data[12 : len(reply)]


@given(st.binary(max_size=40), st.integers(0, 60), st.integers(0, 255))
def test_a_damaged_question_raises_nothing(tail: bytes, at: int, byte: int) -> None:
    query = bytearray(asked("web.ga.a67") + tail)
    query[min(at, len(query) - 1)] = byte
    found = parse_query(bytes(query))
    if found is not None:
        assert len(answer(found, [Service("7f000001.a67", 80)] * 40)) <= LONGEST


@pytest.mark.parametrize(
    "data",
    [
        b"",
        asked("web.g.a67")[:-1],
        dns.message.make_response(dns.message.make_query("web.g.a67", "SRV")).to_wire(),
        dns.message.make_query("web.g.a67", "SRV", "CH").to_wire(),
        asked("web.g.a67")[:2] + b"\x20" + asked("web.g.a67")[3:],
        asked("web.g.a67")[:5] + b"\x02" + asked("web.g.a67")[6:],
        # A pointer to itself, and labels without end.
        struct.pack(">HHHHHH", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c" + struct.pack(">HH", SRV, 1),
        struct.pack(">HHHHHH", 1, 0, 1, 0, 0, 0) + b"\x01a" * 200 + b"\0" + struct.pack(">HH", SRV, 1),
        struct.pack(">HHHHHH", 1, 0, 1, 0, 0, 0) + b"\x02\xff\xfe\0" + struct.pack(">HH", SRV, 1),
    ],
    ids=["empty", "cut", "response", "chaos", "opcode", "two", "pointer", "long", "not ascii"],
)
def test_what_is_no_query_for_us_gets_no_answer(data: bytes) -> None:
    assert parse_query(data) is None
