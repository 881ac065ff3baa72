"""The one shard that an execution of a statement concerns, if it is one. Pure."""

from __future__ import annotations

from automator67.engine.shards.layout import Layout
from automator67.engine.shards.plan.conditions import Keys, Parameter, Read, shards_of
from automator67.engine.shards.plan.model import OneShard, Plan, Rows


def shards_meant(plan: OneShard, layout: Layout, read: Read) -> frozenset[int]:
    """Return the shards that a statement planned for one shard concerns in this execution; none: any one will do."""
    if plan.fixed is not None:
        return frozenset((plan.fixed,))
    found = [shards_of(condition, layout, read) for condition in plan.candidates]
    return found[0] if len(found) == 1 else frozenset[int]().union(*found)


def only_key(plan: Plan | Exception) -> tuple[Keys, int] | None:
    """Return the key that alone says where a statement runs, where it is one parameter, and its number."""
    if not isinstance(plan, OneShard) or len(plan.candidates) != 1:
        return None
    condition = plan.candidates[0]
    if not isinstance(condition, Keys) or len(condition.values) != 1 or len(condition.values[0]) != 1:
        return None
    value = condition.values[0][0]
    return (condition, value.number) if isinstance(value, Parameter) else None


def single(plan: Plan | Exception, layout: Layout, read: Read) -> int | None:
    """Return the shard that does the statement as it is; None when several do, or it must be looked at closer."""
    if isinstance(plan, OneShard):
        found = shards_meant(plan, layout, read)
        return min(found, default=layout.default) if len(found) < 2 else None
    if isinstance(plan, Rows):
        found = frozenset[int]().union(*(shards_of(condition, layout, read) for condition in plan.where))
        return min(found) if len(found) == 1 else None
    return None
