"""The tier that answers any query: bring the needed columns and rows to one shard and finish there. Pure.

The temporary tables there have the names of the tables they stand for, so the statement runs as it was written, with
PostgreSQL's own meaning of every type, function and collation.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from automator67.engine.shards.plan.catalog import Catalog, Relation
from automator67.engine.shards.plan.conditions import Condition, Everything
from automator67.engine.shards.plan.model import Fragment, Gathered, Refused
from automator67.engine.shards.plan.names import tables_in
from automator67.engine.shards.plan.statements import Statement, name_of, quoted


def gathered(statement: Statement, tree: exp.Expr, catalog: Catalog, path: Sequence[str]) -> Gathered:
    """Return the plan that pulls what a query needs. Raises Refused."""
    relations = [(node, r) for node, r in tables_in(tree, catalog, path) if _pulled(catalog, r)]
    distinct = {(r.schema, r.name): r for _, r in relations}
    if len({name for _, name in distinct}) < len(distinct):
        raise Refused("two tables of the same name in different schemas meet in this query")
    for node, relation in relations:
        if node.args.get("db"):
            full = f"{relation.schema}.{relation.name}"
            raise Refused(f"{full} is written with its schema in a query over several shards",
                          f"Write {relation.name} and set search_path.")  # fmt: skip
    wanted = _columns(statement, tree)
    grouped = any(tree.find_all(exp.Group))
    fragments = tuple(
        Fragment(
            relation.name,
            _select(relation, wanted),
            _where(relation, relations, tree, catalog, path),
            relation.primary if grouped and set(relation.primary) <= (wanted or set(relation.by_name)) else (),
        )
        for relation in distinct.values()
    )
    names = ", ".join(sorted(r.name for r in distinct.values()))
    return Gathered("gathered", f"rows of {names} meet that may be on different shards", fragments)


def _pulled(catalog: Catalog, relation: Relation) -> bool:
    table = catalog.cut(relation)
    return table is not None and not table.everywhere


def _columns(statement: Statement, tree: exp.Expr) -> set[str] | None:
    """Return the names of all columns that may be meant; None when every column may be."""
    stars = [star for star in tree.find_all(exp.Star) if not isinstance(star.parent, exp.Count)]
    joins = list(tree.find_all(exp.Join))
    implied = any(join.args.get("using") or join.method == "NATURAL" for join in joins)
    aliases = {name_of(a.this) for a in tree.find_all(exp.TableAlias) if a.this} | {
        name_of(t.this) for t in tree.find_all(exp.Table)
    }
    words = {token.text for token in statement.tokens}
    names = words | {word.lower() for word in words}
    # An alias used as a value is a whole row; then, and with *, all columns count.
    rows = any(
        isinstance(column.this, exp.Identifier) and not column.args.get("table") and name_of(column.this) in aliases
        for column in tree.find_all(exp.Column)
    )
    return None if stars or implied or rows or "TABLE" in names or "table" in names else names


def _select(relation: Relation, wanted: set[str] | None) -> str:
    names = [quoted(c.name) for c in relation.columns if wanted is None or c.name in wanted]
    return f"SELECT {', '.join(names)} FROM {quoted(relation.schema)}.{quoted(relation.name)}"  # noqa: S608 - quoted


def _where(
    relation: Relation,
    relations: Sequence[tuple[exp.Table, Relation]],
    tree: exp.Expr,
    catalog: Catalog,
    path: Sequence[str],
) -> Condition:
    """Return which shards the rows that count are on: told by conditions only where the table is named once."""
    from automator67.engine.shards.plan.select import occurrences

    once = sum(other is relation for _, other in relations) == 1
    conditions = occurrences(tree, catalog, path)
    return conditions[0] if once and len(relations) == 1 and len(conditions) == 1 else Everything()
