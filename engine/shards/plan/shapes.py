"""What a syntax tree has where: outputs, aggregates, queries within queries. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from automator67.engine.shards.plan.catalog import Catalog
from automator67.engine.shards.plan.statements import name_of


def name_of_output(node: exp.Expr) -> str:
    """Return the name of an output column, nothing where PostgreSQL makes one up."""
    if isinstance(node, exp.Alias):
        return name_of(node.args["alias"])
    return name_of(node.this) if isinstance(node, exp.Column) else ""


def own_nodes(select: exp.Expr | None, *kinds: type[exp.Expr]) -> Iterator[exp.Expr]:
    """Yield the nodes of these kinds that belong to a SELECT itself, not to a query within it."""
    if select is None:
        return
    for node in select.walk(prune=lambda n: n is not select and isinstance(n, exp.Query)):
        if isinstance(node, kinds) and (node is select or not isinstance(node, exp.Query)):
            yield node


def own_queries(clause: exp.Expr | None) -> list[exp.Query]:
    """Return the outermost queries within an expression."""
    if clause is None:
        return []
    nodes = clause.walk(prune=lambda n: isinstance(n, (exp.Select, exp.SetOperation)))
    return [node for node in nodes if isinstance(node, (exp.Select, exp.SetOperation))]


def above(node: exp.Expr | None, *kinds: type[exp.Expr]) -> bool:
    """Whether one of these kinds is around a node, within its SELECT."""
    while node is not None and not isinstance(node, exp.Select):
        if isinstance(node, kinds):
            return True
        node = node.parent
    return False


def is_aggregate(node: exp.Expr, catalog: Catalog) -> bool:
    """Whether a node makes one value of many rows."""
    named = isinstance(node, exp.Anonymous) and str(node.this).lower() in catalog.aggregates
    return isinstance(node, exp.AggFunc) or named


def grouped(select: exp.Select, catalog: Catalog) -> bool:
    """Whether a SELECT makes groups."""
    parts = [*select.expressions, select.args.get("having"), select.args.get("order")]
    found = (
        node
        for part in parts
        for node in own_nodes(part, exp.AggFunc, exp.Anonymous)
        if is_aggregate(node, catalog) and not isinstance(node.parent, exp.Window)
        and not (isinstance(node.parent, exp.Filter) and isinstance(node.parent.parent, exp.Window))
    )  # fmt: skip
    return bool(select.args.get("group") or select.args.get("having")) or any(True for _ in found)
