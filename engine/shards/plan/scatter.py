"""Plans a query that each shard can do by itself: rows one after another, merged by order, or groups merged. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from automator67.engine.shards.merge import ORDERED
from automator67.engine.shards.plan.catalog import Catalog
from automator67.engine.shards.plan.model import Concatenated, Plan, SortKey
from automator67.engine.shards.plan.partial import partial
from automator67.engine.shards.plan.purity import unsteady
from automator67.engine.shards.plan.shapes import grouped, name_of_output
from automator67.engine.shards.plan.spread import Core, Prover, Unproven
from automator67.engine.shards.plan.statements import Statement, name_of


def scatter(statement: Statement, tree: exp.Expr, catalog: Catalog, path: Sequence[str]) -> Plan | None:
    """Return the plan of a query that each shard can do by itself; None when that is not proven."""
    if unsteady(statement, catalog):
        return None
    try:
        if isinstance(tree, exp.Union):
            if tree.args.get("order") or tree.args.get("limit") or tree.args.get("offset"):
                return None
            spread = Prover(catalog, path).query(tree)
            return Concatenated("all parts of the UNION ALL are local", spread.where) if spread.cut else None
        if not isinstance(tree, exp.Select):
            return None
        prover = Prover(catalog, path)
        core = prover.core(tree)
        if not core.cut:
            return None
        try:
            prover.local_above(core, tree)
        except Unproven:
            return partial(tree, core, catalog)
        return _concatenated(tree, core, catalog)
    except Unproven:
        return None


def _concatenated(tree: exp.Select, core: Core, catalog: Catalog) -> Plan | None:
    limit = _limit(tree)
    if tree.args.get("offset") or limit is None:
        return None
    reason = "groups are by the shard key" if grouped(tree, catalog) else "each row is on one shard"
    order = tree.args.get("order")
    if order is None:
        return Concatenated(reason, core.where, (), limit if limit >= 0 else None)
    keys = [_sort_key(tree, core, item) for item in order.expressions]
    found = tuple(key for key in keys if key is not None)
    if len(found) < len(keys):
        return None
    return Concatenated(f"{reason}; the order is known", core.where, found, limit if limit >= 0 else None)


def _limit(tree: exp.Select) -> int | None:
    """Return the LIMIT, -1 where there is none, None where it is no plain number."""
    limit = tree.args.get("limit")
    if limit is None:
        return -1
    value = limit.expression if isinstance(limit, exp.Limit) else None
    number = isinstance(value, exp.Literal) and not value.is_string and str(value.this).isdigit()
    return int(value.this) if number and value is not None else None


def _sort_key(tree: exp.Select, core: Core, item: exp.Expr) -> SortKey | None:
    """Return a key of ORDER BY as an output column, where it is one and its order is certain."""
    if not isinstance(item, exp.Ordered) or any(isinstance(e.unalias(), exp.Star) for e in tree.expressions):
        return None
    if any(isinstance(e, exp.Column) and isinstance(e.this, exp.Star) for e in tree.expressions):
        return None
    position = _position(tree, core, item.this)
    if position is None:
        return None
    place = core.scope.place(tree.expressions[position].unalias())
    source = core.scope.sources[place[0]] if place is not None else None
    if place is None or source is None or source.relation is None:
        return None
    column = source.relation.by_name.get(place[1])
    if column is None or column.type not in ORDERED or not column.bytewise:
        return None
    descending = bool(item.args.get("desc"))
    return SortKey(position, descending, bool(item.args.get("nulls_first")))


def _position(tree: exp.Select, core: Core, node: exp.Expr) -> int | None:
    if isinstance(node, exp.Literal) and not node.is_string:
        n = int(node.this) - 1
        return n if 0 <= n < len(tree.expressions) else None
    if not isinstance(node, exp.Column):
        return None
    if not node.args.get("table"):
        named = [n for n, e in enumerate(tree.expressions) if name_of_output(e) == name_of(node.this)]
        if named:
            return named[0] if len(named) == 1 else None
    place = core.scope.place(node)
    same = [n for n, e in enumerate(tree.expressions) if place and core.scope.place(e.unalias()) == place]
    return same[0] if same else None
