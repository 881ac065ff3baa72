"""Items of a FROM. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from automator67.engine.shards.plan.catalog import Catalog
from automator67.engine.shards.plan.names import Source, relation_of, shadowed
from automator67.engine.shards.plan.statements import name_of


def source_of(node: exp.Expr, catalog: Catalog, path: Sequence[str]) -> Source | None:
    """Return a FROM item as a source; None for one without a name."""
    alias = name_of(node.args["alias"].this) if node.args.get("alias") and node.args["alias"].this else ""
    if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
        alias = alias or name_of(node.this)
        renamed = bool(node.args.get("alias") and node.args["alias"].args.get("columns"))
        relation = None if shadowed(node) else relation_of(catalog, node, path)
        if relation is None or renamed:
            return Source(alias, node, None)
        return Source(alias, node, frozenset(relation.by_name), relation, catalog.cut(relation))
    return Source(alias, node, None) if alias else None
