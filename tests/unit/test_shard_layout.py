"""Hashing, keys and the placing of rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.shards.hashing import SLOTS, hash_int, slot_of
from automator67.engine.shards.keys import from_parameter, from_text
from automator67.engine.shards.layout import LayoutError, assign_slots, layout_of


def document(**tables: Any) -> dict[str, Any]:
    shards = [{"name": f"s{n}", "url": f"postgresql://u:p@h{n}/d"} for n in range(4)]
    return {"shards": shards, "tables": tables}


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1))
def test_a_hash_has_64_bits(value: int, seed: int) -> None:
    assert 0 <= hash_int(value, seed) < 2**64


def test_a_new_shard_takes_its_share_and_nothing_else_moves() -> None:
    four = assign_slots([(f"s{n}", 1) for n in range(4)])
    five = assign_slots([(f"s{n}", 1) for n in range(5)])
    moved = [(a, b) for a, b in zip(four, five, strict=True) if a != b]
    assert all(b == 4 for _, b in moved)
    assert 0.17 < len(moved) / SLOTS < 0.23


def test_weights_are_shares_of_the_slots() -> None:
    counts = Counter(assign_slots([("a", 1), ("b", 3)]))
    assert 0.22 < counts[0] / SLOTS < 0.28


@pytest.mark.parametrize(
    ("family", "text", "key"),
    [
        ("integer", "42", 42), ("integer", " -7 ", -7), ("integer", "1.0", None),
        ("integer", "9223372036854775808", None),
        ("text", "a ", b"a "), ("char", "a  ", b"a"),
        ("uuid", "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}", bytes.fromhex("a0eebc999c0b4ef8bb6d6bb9bd380a11")),
        ("uuid", "a0eebc99", None),
    ],
)  # fmt: skip
def test_keys_of_literals(family: str, text: str, key: object) -> None:
    assert from_text(family, text) == key


@pytest.mark.parametrize(("oid", "data"), [(21, b"\0\5"), (23, b"\0\0\0\5"), (20, b"\0\0\0\0\0\0\0\5")])
def test_parameters_of_all_widths_are_one_key(oid: int, data: bytes) -> None:
    assert from_parameter("integer", oid, data, True) == from_parameter("integer", oid, b"5", False) == 5


def test_a_parameter_of_another_kind_is_no_key() -> None:
    assert from_parameter("integer", 1700, b"5", False) is None
    assert from_parameter("integer", 23, b"\0", True) is None


def test_ranges_and_directories_place_keys() -> None:
    layout = layout_of(
        "x",
        document(
            r={"strategy": "range", "key": "k", "ranges": [{"below": 10, "shard": "s0"}, {"shard": "s2"}]},
            d={"strategy": "directory", "key": "k", "directory": {"acme": "s1"}, "default": "s3"},
            n={"strategy": "directory", "key": "k", "directory": {"acme": "s1"}},
        ),
    )
    tables = layout.tables
    assert [layout.place(tables["r"], ("integer",), [k]) for k in (-5, 9, 10)] == [0, 0, 2]
    assert layout.between(tables["r"], "integer", 3, 9) == {0}
    assert layout.between(tables["r"], "integer", 3, None) == {0, 2}
    assert [layout.place(tables["d"], ("text",), [k]) for k in (b"acme", b"other")] == [1, 3]
    assert layout.place(tables["n"], ("text",), [b"other"]) is None


def test_with_must_not_go_in_a_circle() -> None:
    with pytest.raises(LayoutError, match="circle"):
        layout_of(
            "x",
            document(a={"strategy": "hash", "key": "k", "with": "b"}, b={"strategy": "hash", "key": "k", "with": "a"}),
        )


def test_slots_depend_on_every_part_of_a_key() -> None:
    assert len({slot_of([1, n]) for n in range(50)}) > 40
