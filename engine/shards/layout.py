"""The declaration of one logical database as typed values: which shard a row belongs to. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import log
from typing import Any, Literal

from automator67.engine.shards.hashing import SLOTS, hash_bytes, slot_of
from automator67.engine.shards.keys import Key, from_text

Strategy = Literal["hash", "range", "directory", "everywhere"]


class LayoutError(Exception):
    """The declaration asks for what this version cannot do, or contradicts itself; one line."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One database. ``url`` or ``secret`` says where; at most ``connections`` are open to it."""

    name: str
    url: str = ""
    secret: str = ""
    weight: float = 1.0
    connections: int = 10
    pooled: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """How one table is cut. Tables of the same ``group`` have equal keys on the same shard.

    ``bounds`` (exclusive, as written) and ``places`` (one more) are those of ranges; ``directory`` is by the value as
    written, ``otherwise`` the shard of all other values.
    """

    name: str
    strategy: Strategy
    key: tuple[str, ...] = ()
    group: str = ""
    bounds: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    directory: Mapping[str, int] = field(default_factory=dict)
    otherwise: int | None = None

    @property
    def everywhere(self) -> bool:
        """Whether each shard has a whole copy."""
        return self.strategy == "everywhere"


@dataclass(frozen=True)
class Layout:
    """One logical database: its shards by number, its declared tables by name, the shard of all other tables."""

    name: str
    shards: tuple[Shard, ...]
    tables: Mapping[str, Table]
    default: int = 0

    @cached_property
    def slots(self) -> tuple[int, ...]:
        """The shard of each slot."""
        return assign_slots([(s.name, s.weight) for s in self.shards])

    @cached_property
    def every(self) -> frozenset[int]:
        """All shards."""
        return frozenset(range(len(self.shards)))

    def table(self, schema: str, name: str) -> Table | None:
        """Return how a table is cut; None for one that is not declared. Undotted names are those of ``public``."""
        return self.tables.get(f"{schema}.{name}") or (self.tables.get(name) if schema == "public" else None)

    def place(self, table: Table, families: Sequence[str], values: Sequence[Key]) -> int | None:
        """Return the shard of the rows with this key; None when ranges and directory have no place for it."""
        if table.strategy == "hash":
            return self.slots[slot_of(values)]
        if table.strategy == "range":
            return table.places[bisect_right(self._bounds(table, families[0]), values[0])]
        return self._directory(table, families[0]).get(values[0], table.otherwise)

    def between(self, table: Table, family: str, low: Key | None, high: Key | None) -> frozenset[int]:
        """Return the shards that may have keys from ``low`` to ``high``, both included, None for no limit."""
        if table.strategy != "range":
            return self.every
        bounds = self._bounds(table, family)
        first = 0 if low is None else bisect_right(bounds, low)
        last = len(bounds) if high is None else bisect_right(bounds, high)
        return frozenset(table.places[first : last + 1])

    def _bounds(self, table: Table, family: str) -> list[Key]:
        key = (table.name, family)
        if key not in self._typed_bounds:
            self._typed_bounds[key] = [_typed(table, family, bound) for bound in table.bounds]
        return self._typed_bounds[key]

    def _directory(self, table: Table, family: str) -> dict[Key, int]:
        key = (table.name, family)
        if key not in self._typed_directories:
            self._typed_directories[key] = {_typed(table, family, v): s for v, s in table.directory.items()}
        return self._typed_directories[key]

    @cached_property
    def _typed_bounds(self) -> dict[tuple[str, str], list[Key]]:
        return {}

    @cached_property
    def _typed_directories(self) -> dict[tuple[str, str], dict[Key, int]]:
        return {}


def assign_slots(shards: Sequence[tuple[str, float]]) -> tuple[int, ...]:
    """Return the shard of each slot: the one of the highest weighted rendezvous score.

    Of (name, weight) pairs. A shard that comes or goes moves its own share of the slots and no other.
    """
    names = [(name.encode(), weight) for name, weight in shards]

    def score(name: bytes, weight: float, slot: int) -> float:
        return -weight / log(((hash_bytes(name, slot + 1) >> 11) + 0.5) / 2**53)

    return tuple(max(range(len(names)), key=lambda n: score(*names[n], slot)) for slot in range(SLOTS))


def layout_of(name: str, document: Mapping[str, Any]) -> Layout:
    """Return the layout that a valid shards/NAME.yaml declares. Raises LayoutError."""
    shards = tuple(_shard(entry) for entry in document["shards"])
    numbers = {shard.name: n for n, shard in enumerate(shards)}
    declared: Mapping[str, Any] = document.get("tables", {})
    tables = {name: _table(name, entry, declared, numbers) for name, entry in declared.items()}
    if document.get("mongodb"):
        raise LayoutError("mongodb: collections cannot be read as tables yet; take them out")
    return Layout(name, shards, tables, numbers[document.get("default", shards[0].name)])


def _shard(entry: Mapping[str, Any]) -> Shard:
    if "provider" in entry:
        raise LayoutError(f"shard {entry['name']}: databases cannot be provisioned yet; write its url")
    url = entry["url"]
    return Shard(
        entry["name"],
        url if isinstance(url, str) else "",
        "" if isinstance(url, str) else url["secret"],
        float(entry.get("weight", 1)),
        int(entry.get("connections", 10)),
        bool(entry.get("pooled", False)),
    )


def _table(name: str, entry: Mapping[str, Any], declared: Mapping[str, Any], numbers: Mapping[str, int]) -> Table:
    strategy = entry["strategy"]
    if strategy == "schema":
        raise LayoutError(f"table {name}: strategy schema cannot be used yet; cut it by hash")
    if strategy == "everywhere":
        return Table(name, "everywhere")
    key = (entry["key"],) if isinstance(entry["key"], str) else tuple(entry["key"])
    if strategy != "hash" and len(key) > 1:
        raise LayoutError(f"table {name}: a {strategy} table has one column as its key")
    chief = _chief(name, declared)
    if chief != name and strategy != "hash" and _rule(entry) not in ({}, _rule(declared[chief])):
        raise LayoutError(f"table {name}: it is with {chief}, so it is cut where that is; leave out its own rule")
    rule = _rule(entry) or _rule(declared[chief])
    ranges = rule.get("ranges", ())
    return Table(
        name, strategy, key,
        # All hash tables with keys of one kind share the slots, hence the group; the key's types are checked later.
        "hash" if strategy == "hash" else chief,
        tuple(str(r["below"]) for r in ranges if "below" in r),
        tuple(numbers[r["shard"]] for r in ranges),
        {str(value): numbers[shard] for value, shard in rule.get("directory", {}).items()},
        numbers[rule["default"]] if "default" in rule else None,
    )  # fmt: skip


def _rule(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {k: entry[k] for k in ("ranges", "directory", "default") if k in entry}


def _chief(name: str, declared: Mapping[str, Any]) -> str:
    seen = [name]
    while (other := declared[seen[-1]].get("with")) is not None:
        if other in seen:
            raise LayoutError(f"table {name}: with goes in a circle: {' -> '.join([*seen, other])}")
        seen.append(other)
    return seen[-1]


def _typed(table: Table, family: str, written: str) -> Key:
    value = from_text(family, written)
    if value is None:
        raise LayoutError(f"table {table.name}: {written} is no {family} value, the type of its key {table.key[0]}")
    return value


def names_of(layout: Layout, numbers: Iterable[int]) -> list[str]:
    """Return the names of shards, in the order they are declared."""
    return [layout.shards[n].name for n in sorted(numbers)]
