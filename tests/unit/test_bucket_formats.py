"""What was sealed once can be opened for ever: the formats, by vectors; and no piece stands in for another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.buckets.errors import Corrupt, KeyProblem
from automator67.engine.buckets.keys import Keys, read_ring
from automator67.engine.buckets.layout import Room, ranked

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "bucket.json").read_text())
CONTENT = VECTORS["content"]
KEYS = Keys(bytes.fromhex(VECTORS["bucket"]), read_ring(VECTORS["secret"].encode(), "photos"))
OTHER = Keys(KEYS.bucket, read_ring(b"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=", "photos"))
DATA_KEY, PLAIN = bytes.fromhex(VECTORS["data_key"]), VECTORS["plain"].encode()


def test_the_vectors_open() -> None:
    assert KEYS.unwrap(CONTENT, bytes.fromhex(VECTORS["wrapped"])) == DATA_KEY
    for chunk in VECTORS["chunks"]:
        sealed = bytes.fromhex(chunk["sealed"])
        assert KEYS.seal_chunk(CONTENT, DATA_KEY, chunk["index"], chunk["last"], PLAIN) == sealed
        assert KEYS.open_chunk(CONTENT, DATA_KEY, chunk["index"], chunk["last"], sealed) == PLAIN
    assert KEYS.seal_named(VECTORS["name"], PLAIN).hex() == VECTORS["named"]
    assert KEYS.open_named(VECTORS["name"], bytes.fromhex(VECTORS["named"])) == PLAIN


def test_nothing_opens_in_the_place_of_something_else() -> None:
    sealed = KEYS.seal_chunk(CONTENT, DATA_KEY, 1, False, PLAIN)
    other_bucket = Keys(bytes(16), KEYS.ring)
    for keys, content, index, last in (
        (KEYS, CONTENT, 2, False),
        (KEYS, CONTENT, 1, True),
        (KEYS, "00" * 16, 1, False),
        (other_bucket, CONTENT, 1, False),
    ):
        with pytest.raises(Corrupt):
            keys.open_chunk(content, DATA_KEY, index, last, sealed)
    with pytest.raises(Corrupt):
        KEYS.open_named("photos/log/2", KEYS.seal_named("photos/log/1", PLAIN))
    for wrong, content in ((OTHER, CONTENT), (other_bucket, CONTENT), (KEYS, "00" * 16)):
        with pytest.raises(KeyProblem):
            wrong.unwrap(content, KEYS.wrap(CONTENT, DATA_KEY))


def test_an_older_key_still_opens_below_the_new_one() -> None:
    both = Keys(KEYS.bucket, (*OTHER.ring, *KEYS.ring))
    assert both.unwrap(CONTENT, KEYS.wrap(CONTENT, DATA_KEY)) == DATA_KEY
    assert OTHER.unwrap(CONTENT, both.wrap(CONTENT, DATA_KEY)) == DATA_KEY


@given(st.sets(st.sampled_from("abcdef"), min_size=2), st.text(max_size=20))
def test_when_a_provider_goes_the_others_keep_their_order(names: set[str], blob: str) -> None:
    rooms = {name: Room() for name in names}
    order = ranked(blob, 1, rooms)
    gone = order[0]
    assert sorted(order) == sorted(names)
    assert ranked(blob, 1, {n: r for n, r in rooms.items() if n != gone}) == order[1:]
    assert gone not in ranked(blob, 2, {**rooms, gone: Room(free=1)})
    assert gone not in ranked(blob, 1, {**rooms, gone: Room(leaving=True)})
