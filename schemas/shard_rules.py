"""Rules within shards/NAME.yaml: names of shards and tables, ranges without gaps or overlaps. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from automator67.schemas.findings import Finding
from automator67.schemas.near import near
from automator67.schemas.source import Path

DATABASE_KINDS = frozenset({"neon", "supabase"})
_NEEDS = {"hash": "key", "range": "ranges", "directory": "directory"}
_ONLY = {"range": ("ranges",), "directory": ("directory", "default")}


def shard_findings(value: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong within one shards file."""
    shards: list[str] = []
    for n, shard in enumerate(value["shards"]):
        if shard["name"] in shards:
            yield Finding("duplicate", ("shards", n, "name"), f"two shards are called {shard['name']}")
        shards.append(shard["name"])
        if ("url" in shard) == ("provider" in shard):
            yield Finding("contradiction", ("shards", n), "a shard has exactly one of url and provider")
    if "default" in value and value["default"] not in shards:
        yield _unknown(("default",), value["default"], shards)
    tables = value.get("tables", {})
    for name, table in tables.items():
        yield from _table(name, table, ("tables", name), tables, shards)


def provider_findings(value: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield the shards whose provider is not a node that has databases."""
    for n, shard in enumerate(value["shards"]):
        if "provider" in shard and nodes.get(shard["provider"], {}).get("kind") not in DATABASE_KINDS:
            text = f"there is no node {shard['provider']} of kind neon or supabase"
            yield Finding("unknown-provider", ("shards", n, "provider"), text)


def _table(
    name: str, table: Mapping[str, Any], path: Path, tables: Mapping[str, Any], shards: list[str]
) -> Iterator[Finding]:
    strategy = table["strategy"]
    if strategy in ("hash", "range", "directory") and "key" not in table:
        yield Finding("missing-key", path, f"a {strategy} table needs a key", "write for example key: id")
    need = _NEEDS.get(strategy, "")
    if need and need not in table:
        yield Finding("missing-key", path, f"a {strategy} table needs {need}")
    for owner, keys in _ONLY.items():
        for key in keys:
            if key in table and strategy != owner:
                yield Finding("contradiction", (*path, key), f"{key} belongs to strategy {owner}, not {strategy}")
    if "with" in table:
        yield from _co_located(name, table, path, tables)
    for n, entry in enumerate(table.get("ranges", ())):
        if entry["shard"] not in shards:
            yield _unknown((*path, "ranges", n, "shard"), entry["shard"], shards)
    yield from _ranges(table.get("ranges", ()), path)
    for key, shard in table.get("directory", {}).items():
        if shard not in shards:
            yield _unknown((*path, "directory", key), shard, shards)
    if strategy == "directory" and "default" in table and table["default"] not in shards:
        yield _unknown((*path, "default"), table["default"], shards)


def _co_located(name: str, table: Mapping[str, Any], path: Path, tables: Mapping[str, Any]) -> Iterator[Finding]:
    other = table["with"]
    if other not in tables or other == name:
        hint = near(other, [t for t in tables if t != name])
        yield Finding("unknown-table", (*path, "with"), f"there is no other table {other}", hint)
    elif tables[other]["strategy"] != table["strategy"]:
        text = f"co-located tables share a strategy; {other} is cut by {tables[other]['strategy']}"
        yield Finding("contradiction", (*path, "with"), text)


def _ranges(ranges: Any, path: Path) -> Iterator[Finding]:
    bounds = [entry.get("below") for entry in ranges]
    for n, bound in enumerate(bounds):
        last = n == len(bounds) - 1
        place = (*path, "ranges", n)
        if bound is None and not last:
            yield Finding("range-overlap", place, "only the last range may be without below")
        elif last and bound is not None:
            yield Finding("range-gap", place, f"values from {bound} on have no shard", "end with a range without below")
        if n and bound is not None and bounds[n - 1] is not None:
            yield from _grows(bounds[n - 1], bound, (*place, "below"))


def _grows(before: Any, bound: Any, path: Path) -> Iterator[Finding]:
    if isinstance(before, str) != isinstance(bound, str):
        yield Finding("range-mixed", path, f"{bound} and {before} cannot be compared", "write both the same way")
    elif not before < bound:
        yield Finding("range-overlap", path, f"{bound} is not above {before}: the ranges overlap", "sort them")


def _unknown(path: Path, name: str, shards: list[str]) -> Finding:
    hint = near(name, shards, f"shards are {', '.join(shards)}")
    return Finding("unknown-shard", path, f"there is no shard {name}", hint)
