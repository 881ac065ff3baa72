"""Compares rows of different shards as PostgreSQL does, for the types whose order is certain. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import total_ordering
from typing import Any

from automator67.engine.shards.plan.model import SortKey
from automator67.engine.shards.wire import messages as m

_INTEGERS = {20: ">q", 21: ">h", 23: ">i", 26: ">I"}
ORDERED = frozenset({16, 20, 21, 23, 26, 2950, 25, 1043})
"""Types that can be merged here; text only where its collation orders by bytes, which the planner makes sure of."""


@total_ordering
class _Reversed:
    """A value that sorts the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and bool(self.value == other.value)

    def __lt__(self, other: _Reversed) -> bool:
        return bool(other.value < self.value)

    def __hash__(self) -> int:
        return hash(self.value)


def sort_key(
    order: Sequence[SortKey], fields: Sequence[m.Field], formats: Sequence[int]
) -> Callable[[bytes], tuple[Any, ...]]:
    """Return what gives the place of a DataRow message among others."""
    parts = [(k.column, _reader(fields[k.column].type, formats[k.column]), k.descending, k.nulls_first) for k in order]

    def key(row: bytes) -> tuple[Any, ...]:
        values = m.values_of(row)
        found: list[Any] = []
        for column, read, descending, nulls_first in parts:
            data = values[column]
            if data is None:
                found.append((0 if nulls_first else 2, 0))
            else:
                value = read(data)
                found.append((1, _Reversed(value) if descending else value))
        return tuple(found)

    return key


def _reader(oid: int, form: int) -> Callable[[bytes], Any]:
    if oid in _INTEGERS:
        width = _INTEGERS[oid]
        return (lambda data: struct.unpack(width, data)[0]) if form else int
    return bytes
