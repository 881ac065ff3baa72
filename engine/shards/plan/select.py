"""Plans queries: one shard if that is certain, else the cheapest of the tiers that is proven right. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from automator67.engine.shards.plan.catalog import Catalog, Relation
from automator67.engine.shards.plan.conditions import AllOf, Condition, Everything
from automator67.engine.shards.plan.gather import gathered
from automator67.engine.shards.plan.model import OneShard, Plan, Refused
from automator67.engine.shards.plan.names import (
    Scope,
    Source,
    conjuncts,
    tables_in,
)
from automator67.engine.shards.plan.scatter import scatter
from automator67.engine.shards.plan.sources import source_of
from automator67.engine.shards.plan.statements import Statement, name_of

_HIDDEN = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})


def plan_select(statement: Statement, tree: exp.Expr, catalog: Catalog, path: Sequence[str]) -> Plan:
    """Return how a query is answered. Raises Refused."""
    relations = tables_in(tree, catalog, path)
    _no_hidden_reads(statement, relations, catalog)
    cut = [(node, relation) for node, relation in relations if _is_cut(catalog, relation)]
    locks = any(tree.find_all(exp.Lock))
    if not cut:
        return OneShard(_whole(relations, catalog), fixed=catalog.layout.default, writes=True)
    otherwise: Plan | None = None
    refusal: Refused | None = None
    try:
        _refuse_what_is_of_one_shard(statement, tree, locks)
        otherwise = scatter(statement, tree, catalog, path) or gathered(statement, tree, catalog, path)
    except Refused as refused:
        refusal = refused
    conditions = occurrences(tree, catalog, path)
    if len(conditions) == len(cut) and not any(isinstance(c, Everything) for c in conditions):
        conditions += _at_home(relations, catalog)
        return OneShard("every table is bound to one key", tuple(conditions), writes=locks, otherwise=otherwise)
    if otherwise is None:
        raise refusal or Refused("the router cannot answer this")
    return otherwise


def _is_cut(catalog: Catalog, relation: Relation) -> bool:
    table = catalog.cut(relation)
    return table is not None and not table.everywhere


def _whole(relations: Sequence[tuple[exp.Table, Relation]], catalog: Catalog) -> str:
    if not relations:
        return "it reads no table that is cut"
    names = sorted({relation.name for _, relation in relations})
    return f"{', '.join(names)}: whole on shard {catalog.layout.shards[catalog.layout.default].name}"


def _at_home(relations: Sequence[tuple[exp.Table, Relation]], catalog: Catalog) -> list[Condition]:
    """Tables that are not declared bind a query to the default shard, so nothing else may be bound elsewhere."""
    return [Everything()] if any(catalog.cut(relation) is None for _, relation in relations) else []


def _no_hidden_reads(statement: Statement, relations: Sequence[tuple[exp.Table, Relation]], catalog: Catalog) -> None:
    for _, relation in relations:
        if behind := catalog.behind(relation):
            names = ", ".join(sorted({other.name for other in behind}))
            raise Refused(
                f"view {relation.name} reads {names}, which is on several shards",
                "Write the view's query in its place.",
            )
    words = [token.text.lower() for token in statement.tokens]
    if "set_config" in words:
        raise Refused("set_config cannot be used through the router", "Use SET.")
    for n, word in enumerate(words[:-1]):
        if word in catalog.functions and words[n + 1] == "(" and catalog.layout.tables:
            raise Refused(
                f"function {word} may read tables, of which its shard has only a part",
                "If it reads none, declare it IMMUTABLE.",
            )


def _refuse_what_is_of_one_shard(statement: Statement, tree: exp.Expr, locks: bool) -> None:
    if locks:
        raise Refused("FOR UPDATE and FOR SHARE need one shard", "Compare the table's shard key with a value.")
    names = {name_of(column.this) for column in tree.find_all(exp.Column)}
    words = {token.text.lower() for token in statement.tokens}
    if hidden := sorted(_HIDDEN & (names | words)):
        raise Refused(f"{hidden[0]} means nothing across shards", "Compare the table's shard key with a value.")
    if "tablesample" in words:
        raise Refused("TABLESAMPLE needs one shard", "Compare the table's shard key with a value.")


def occurrences(tree: exp.Expr, catalog: Catalog, path: Sequence[str]) -> list[Condition]:
    """Return, for each cut table in a FROM, what the SELECT around it says about the shards of its rows."""
    found: list[Condition] = []
    for select in tree.find_all(exp.Select):
        scope = Scope(catalog)
        joins = select.args.get("joins") or []
        from_ = select.args.get("from_")
        nodes = ([from_.this] if from_ is not None else []) + [join.this for join in joins]
        for node in nodes:
            if (source := source_of(node, catalog, path)) is not None:
                scope.sources[source.alias] = source
        certain = conjuncts(select.args.get("where"))
        if all(not join.side and join.kind in ("", "INNER", "CROSS") for join in joins):
            certain = [*certain, *(c for join in joins for c in conjuncts(join.args.get("on")))]
        for source in scope.sources.values():
            if source.table is not None and not source.table.everywhere:
                found.append(_with_equals(scope, source, certain))
    return found


def _with_equals(scope: Scope, source: Source, certain: Sequence[exp.Expr]) -> Condition:
    """Add what follows from columns that must equal the key: ``a.key = b.key AND b.key = 1``."""
    condition = scope.all_of(source, certain)
    table = source.table
    if not isinstance(condition, Everything) or table is None:
        return condition
    parts: list[Condition] = []
    for node in certain:
        if isinstance(node, exp.EQ) and len(table.key) == 1:
            one, other = scope.place(node.this), scope.place(node.expression)
            for mine, theirs in ((one, other), (other, one)):
                if mine == (source.alias, table.key[0]) and theirs is not None and theirs[0] != source.alias:
                    parts += _as_other(scope, source, theirs, certain)
    return AllOf(tuple(parts)) if parts else condition


def _as_other(scope: Scope, source: Source, theirs: tuple[str, str], certain: Sequence[exp.Expr]) -> list[Condition]:
    other = scope.sources[theirs[0]]
    if other.table is None or other.relation is None or source.table is None or source.relation is None:
        return []
    catalog = scope.catalog
    same = catalog.group(other.relation, other.table) == catalog.group(source.relation, source.table)
    if not same or other.table.key != (theirs[1],):
        return []
    condition = scope.all_of(other, certain)
    return [] if isinstance(condition, Everything) else [condition]
