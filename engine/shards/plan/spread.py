"""Proves that a query may run on each shard by itself, so that its rows together are the answer. Pure.

A FROM is *local* when any two rows that join are on the same shard: tables with equal shard keys, and copies that are
everywhere. What is above it (groups, DISTINCT, windows) is local when it is by the key. Anything unproven is Unproven.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from automator67.engine.shards.plan.catalog import Catalog
from automator67.engine.shards.plan.conditions import AllOf, Condition, Everything
from automator67.engine.shards.plan.names import Equal, Place, Scope, Source, conjuncts, tables_in, with_query
from automator67.engine.shards.plan.shapes import above, grouped, name_of_output, own_nodes, own_queries
from automator67.engine.shards.plan.sources import source_of
from automator67.engine.shards.plan.statements import name_of


class Unproven(Exception):
    """It is not certain that each shard can do this by itself; why."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the rows of a table or query are: cut over shards by ``keys`` (each a list of columns), or copies."""

    cut: bool
    group: tuple[str, ...] = ()
    keys: frozenset[tuple[str, ...]] = frozenset()
    where: Condition = field(default_factory=Everything)
    columns: frozenset[str] | None = None


@dataclass(slots=True)
class Core:
    """The FROM and WHERE of one SELECT. ``solid`` are the sources whose columns no outer join makes NULL."""

    scope: Scope
    spreads: dict[str, Spread] = field(default_factory=dict)
    solid: set[str] = field(default_factory=set)
    cut: bool = False
    where: Condition = field(default_factory=Everything)

    def is_key(self, places: set[Place]) -> bool:
        """Whether rows with equal values at ``places`` are surely on one shard."""
        return any(
            {(alias, column) for column in key} <= places
            for alias in self.solid
            if self.spreads[alias].cut
            for key in self.spreads[alias].keys
        )


class Prover:
    """Proves queries of one statement."""

    def __init__(self, catalog: Catalog, path: Sequence[str]) -> None:
        self.catalog = catalog
        self.path = path

    def core(self, select: exp.Select) -> Core:
        """Return FROM and WHERE of a SELECT as local. Raises Unproven."""
        core = Core(Scope(self.catalog))
        from_ = select.args.get("from_")
        if from_ is None or select.args.get("laterals"):
            raise Unproven("it has no FROM that is cut")
        joins: list[exp.Join] = select.args.get("joins") or []
        certain = conjuncts(select.args.get("where"))
        inner = [join for join in joins if not join.side]
        first = self._add(core, from_.this)
        core.solid, core.cut = {first}, core.spreads[first].cut
        for join in joins:
            self._add(core, join.this)
        given = [*certain, *(c for join in inner for c in conjuncts(join.args.get("on")))]
        equal = Equal()
        equal.learn(core.scope, given if len(inner) == len(joins) else certain)
        left = [first]
        for join in joins:
            self._join(core, join, left, equal)
        if len(inner) == len(joins):
            certain = given
        core.where = AllOf(tuple(self._conditions(core, certain)))
        for clause in (select.args.get("where"), select.args.get("having"), *select.expressions):
            self._subqueries(core, clause)
        for join in joins:
            self._subqueries(core, join.args.get("on"))
        return core

    def _conditions(self, core: Core, certain: Sequence[exp.Expr]) -> Iterator[Condition]:
        for alias, source in core.scope.sources.items():
            if core.spreads[alias].cut:
                yield core.scope.all_of(source, certain)
                if alias in core.solid:
                    yield core.spreads[alias].where

    def _add(self, core: Core, node: exp.Expr) -> str:
        source = source_of(node, self.catalog, self.path)
        if source is None or not source.alias or source.alias in core.scope.sources:
            raise Unproven("a FROM item has no name of its own")
        spread = self._spread(source)
        if source.columns is None and spread.columns is not None:
            source = Source(source.alias, source.node, spread.columns)
        core.scope.sources[source.alias] = source
        core.spreads[source.alias] = spread
        return source.alias

    def _spread(self, source: Source) -> Spread:
        node = source.node
        if source.relation is not None:
            if source.table is None:
                raise Unproven(f"{source.relation.name} is on one shard")
            if source.table.everywhere:
                return Spread(False, columns=source.columns)
            group = self.catalog.group(source.relation, source.table)
            keys = frozenset() if "" in group else frozenset({source.table.key})
            return Spread(True, group, keys, columns=source.columns)
        if node.args.get("alias") and node.args["alias"].args.get("columns"):
            raise Unproven("columns are renamed")
        if isinstance(node, exp.Subquery):
            return self.query(node.this)
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier) and not node.args.get("db"):
            item = with_query(node)
            recursive = item is None or item.parent is None or item.parent.args.get("recursive")
            if item is not None and not recursive and not item.args["alias"].args.get("columns"):
                return self.query(item.this)
        raise Unproven("a FROM item is no table that is cut")

    def _join(self, core: Core, join: exp.Join, left: list[str], equal: Equal) -> None:
        alias = name_of(join.this.args["alias"].this) if join.this.args.get("alias") else name_of(join.this.this)
        right = core.spreads[alias]
        if join.method or join.kind not in ("", "INNER", "CROSS", "OUTER"):
            raise Unproven("NATURAL and other joins that name no columns")
        own = Equal() if join.side else equal
        if join.side:
            own.learn(core.scope, conjuncts(join.args.get("on")))
        for column in join.args.get("using") or []:
            name = name_of(column)
            holders = [a for a in left if name in (core.scope.sources[a].columns or ())]
            if len(holders) != 1:
                raise Unproven("USING joins more than two")
            own.join((holders[0], name), (alias, name))
        cut_left = [a for a in left if core.spreads[a].cut]
        together = any(self._meet(core, own, a, alias) for a in cut_left)
        left_cut = bool(cut_left)
        if left_cut and right.cut and not together:
            raise Unproven("tables are not joined by their shard keys")
        if join.side == "LEFT" and right.cut and not left_cut:
            raise Unproven("rows of a copy without a match would come from every shard")
        if join.side == "RIGHT" and left_cut and not right.cut:
            raise Unproven("rows of a copy without a match would come from every shard")
        if join.side == "FULL" and left_cut != right.cut:
            raise Unproven("rows of a copy without a match would come from every shard")
        if join.side in ("RIGHT", "FULL"):
            core.solid.clear()
        if join.side in ("", "RIGHT"):
            core.solid.add(alias)
        left.append(alias)
        core.cut = core.cut or right.cut

    @staticmethod
    def _meet(core: Core, equal: Equal, one: str, other: str) -> bool:
        a, b = core.spreads[one], core.spreads[other]
        return a.group == b.group and any(
            len(x) == len(y) and all(equal.same((one, c), (other, d)) for c, d in zip(x, y, strict=True))
            for x in a.keys
            for y in b.keys
        )

    # Subqueries in expressions

    def _subqueries(self, core: Core, clause: exp.Expr | None) -> None:
        for query in own_queries(clause):
            names = tables_in(query, self.catalog, self.path)
            tables = [self.catalog.cut(relation) for _, relation in names]
            plain = len(names) == sum(1 for _ in query.find_all(exp.Table))
            limited = any(query.find_all(exp.Limit, exp.Offset, exp.Window, exp.Distinct))
            if plain and all(t is not None and t.everywhere for t in tables) and not limited:
                continue
            if not isinstance(query, exp.Select) or not self._correlated(core, query):
                raise Unproven("a subquery may need rows of other shards")

    def _correlated(self, core: Core, query: exp.Select) -> bool:
        inner = self.core(query)
        pairs: set[tuple[Place, Place]] = set()
        for node in conjuncts(query.args.get("where")):
            if isinstance(node, exp.EQ):
                for mine, theirs in ((node.this, node.expression), (node.expression, node.this)):
                    one, other = inner.scope.place(mine), self._outer(core, inner, theirs)
                    if one is not None and other is not None:
                        pairs.add((one, other))
        parent = query.parent
        inside = isinstance(parent, exp.In) and len(query.expressions) == 1 and not above(parent, exp.Not, exp.Case)
        simple = not any(query.args.get(k) for k in ("limit", "offset", "group", "having", "distinct"))
        if inside and simple and isinstance(parent, exp.In):
            one, other = inner.scope.place(query.expressions[0].unalias()), core.scope.place(parent.this)
            if one is not None and other is not None:
                pairs.add((one, other))
        return any(
            all(((a, x), (b, y)) in pairs for x, y in zip(key, wanted, strict=True))
            for a, s in inner.spreads.items() if s.cut and a in inner.solid
            for key in s.keys
            for b, t in core.spreads.items() if t.cut and t.group == s.group
            for wanted in t.keys if len(wanted) == len(key)
        )  # fmt: skip

    @staticmethod
    def _outer(core: Core, inner: Core, node: exp.Expr) -> Place | None:
        if not isinstance(node, exp.Column) or inner.scope.place(node) is not None:
            return None
        if not node.args.get("table"):
            known = all(source.columns is not None for source in inner.scope.sources.values())
            if not known or any(name_of(node.this) in (s.columns or ()) for s in inner.scope.sources.values()):
                return None
        return core.scope.place(node)

    # Whole queries in a FROM

    def query(self, node: exp.Expr) -> Spread:
        """Return where the rows of a query in a FROM or WITH are. Raises Unproven."""
        if isinstance(node, exp.Subquery) and not node.args.get("limit"):
            return self.query(node.this)
        if isinstance(node, exp.Union) and not node.args.get("distinct") and not node.args.get("limit"):
            one, other = self.query(node.this), self.query(node.expression)
            if one.cut != other.cut:
                raise Unproven("rows of a copy would come from every shard")
            return Spread(one.cut)
        if not isinstance(node, exp.Select) or any(node.args.get(k) for k in ("limit", "offset", "locks", "qualify")):
            raise Unproven("a part of it counts rows of all shards")
        core = self.core(node)
        self.local_above(core, node)
        names = [e.alias_or_name for e in node.expressions]
        outputs = {core.scope.place(e.unalias()): name_of_output(e) for e in node.expressions}
        keys = {
            tuple(outputs[alias, c] for c in key)
            for alias in core.solid if core.spreads[alias].cut
            for key in core.spreads[alias].keys if all((alias, c) in outputs for c in key)
        }  # fmt: skip
        groups = {core.spreads[a].group for a in core.solid if core.spreads[a].cut}
        stars = any(node.find_all(exp.Star)) and any(isinstance(e, (exp.Star, exp.Column)) for e in node.expressions)
        known = None if stars or "" in names else frozenset(name_of_output(e) for e in node.expressions)
        group = groups.pop() if len(groups) == 1 else ()
        return Spread(core.cut, group, frozenset(keys) if group and known else frozenset(), core.where, known)

    def local_above(self, core: Core, select: exp.Select) -> None:
        """Make sure that groups, DISTINCT and windows of a cut SELECT are by its key. Raises Unproven."""
        if not core.cut:
            if any(select.find_all(exp.Window)) or select.args.get("distinct"):
                raise Unproven("copies may be read in different orders")
            return
        if grouped(select, self.catalog) and not core.is_key(group_places(core, select)):
            raise Unproven("groups have rows on several shards")
        distinct = select.args.get("distinct")
        if distinct is not None:
            places = {core.scope.place(e.unalias()) for e in select.expressions} - {None}
            if distinct.args.get("on") or not core.is_key({p for p in places if p is not None}):
                raise Unproven("equal rows may be on several shards")
        for window in own_nodes(select, exp.Window):
            parts = {core.scope.place(e) for e in window.args.get("partition_by") or []}
            if not core.is_key({p for p in parts if p is not None}):
                raise Unproven("a window has rows on several shards")


def group_places(core: Core, select: exp.Select) -> set[Place]:
    """Return the columns that the groups of a SELECT are by."""
    group = select.args.get("group")
    if group is None or any(group.args.get(k) for k in ("grouping_sets", "rollup", "cube", "all")):
        return set()
    places = set()
    for node in group.expressions:
        if isinstance(node, exp.Literal) and not node.is_string:
            n = int(node.this) - 1
            node = select.expressions[n].unalias() if n < len(select.expressions) else node
        place = core.scope.place(node)
        if place is not None:
            places.add(place)
    return places
