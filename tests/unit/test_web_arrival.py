"""A request is whole when nothing of it is missing, however its bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.ui.arrival import MAX_BODY_BYTES, MAX_HEAD_BYTES, Arrival

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /hooks/github HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("request_bytes", [GET, POST, CHUNKED])
def test_whole_at_the_last_byte_and_not_before(request_bytes: bytes) -> None:
    arrival = Arrival()
    states = [arrival.feed(request_bytes[n : n + 1]) for n in range(len(request_bytes))]
    assert set(states[:-1]) == {"more"}
    assert states[-1] == "whole"
    assert arrival.data == request_bytes


@given(st.sampled_from([GET, POST, CHUNKED]), st.lists(st.integers(1, 30), max_size=20))
def test_cutting_changes_nothing(request_bytes: bytes, cuts: list[int]) -> None:
    arrival, rest, state = Arrival(), request_bytes, "more"
    for cut in [*cuts, len(request_bytes)]:
        if rest:
            state = arrival.feed(rest[:cut])
            rest = rest[cut:]
    assert state == "whole"


def test_a_body_declared_too_long_is_handed_over_at_once() -> None:
    assert Arrival().feed(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)) == "oversize"
    assert Arrival().feed(b"POST / HTTP/1.1\r\nContent-Length:%d\r\n\r\n" % MAX_BODY_BYTES) == "more"


def test_a_chunked_body_is_handed_over_when_it_grows_too_long() -> None:
    arrival = Arrival()
    assert arrival.feed(b"POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n") == "more"
    states = {arrival.feed(b"x" * 65536) for _ in range(16)}
    assert states == {"more"}
    assert arrival.feed(b"x") == "oversize"


def test_a_head_without_end_is_bounded() -> None:
    arrival = Arrival()
    assert arrival.feed(b"GET / HTTP/1.1\r\n" + b"a" * MAX_HEAD_BYTES) == "head too large"
    assert Arrival().feed(b"GET / HTTP/1.1\r\nx: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n") == "head too large"


def test_who_waits_for_leave_to_send_gets_it_once() -> None:
    arrival = Arrival()
    head = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    assert arrival.feed(head) == "continue"
    assert arrival.feed(b"ab") == "more"
    assert arrival.feed(b"cd") == "whole"


def test_a_second_request_behind_the_first_is_kept() -> None:
    arrival = Arrival()
    assert arrival.feed(POST + GET) == "whole"
    assert arrival.data == POST + GET
