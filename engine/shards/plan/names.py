"""What the names in one SELECT mean: its tables, their columns, which columns must be equal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from automator67.engine.shards.layout import Table
from automator67.engine.shards.plan.catalog import SYSTEM_SCHEMAS, Catalog, Relation
from automator67.engine.shards.plan.conditions import (
    AllOf,
    AnyOf,
    Condition,
    Everything,
    Keys,
    Span,
    Value,
    value_of,
)
from automator67.engine.shards.plan.statements import name_of

Place = tuple[str, str]
"""A column: the alias of its source and its name."""


@dataclass(frozen=True, slots=True)
class Source:
    """One item of a FROM. ``columns`` is None where they are not known; ``table`` is set for a table that is cut."""

    alias: str
    node: exp.Expr
    columns: frozenset[str] | None
    relation: Relation | None = None
    table: Table | None = None


@dataclass(slots=True)
class Scope:
    """The sources of one SELECT and what its conditions say about them."""

    catalog: Catalog
    sources: dict[str, Source] = field(default_factory=dict)

    def place(self, column: exp.Expr) -> Place | None:
        """Return the source and name of a column, None when that is not certain or it is an outer one."""
        if isinstance(column, exp.Paren):
            return self.place(column.this)
        if not isinstance(column, exp.Column) or column.args.get("db"):
            return None
        name = name_of(column.this)
        if column.args.get("table"):
            alias = name_of(column.args["table"])
            return (alias, name) if alias in self.sources else None
        if any(source.columns is None for source in self.sources.values()):
            return None
        found = [alias for alias, source in self.sources.items() if name in (source.columns or ())]
        return (found[0], name) if len(found) == 1 else None

    def condition(self, source: Source, node: exp.Expr) -> Condition:
        """Return what one condition says about the shards of a source's rows."""
        match node:
            case exp.Paren():
                return self.condition(source, node.this)
            case exp.And():
                return self.all_of(source, conjuncts(node))
            case exp.Or():
                return AnyOf((self.condition(source, node.this), self.condition(source, node.expression)))
        return self.all_of(source, [node])

    def all_of(self, source: Source, nodes: Sequence[exp.Expr]) -> Condition:
        """Return what several conditions together say about the shards of a source's rows."""
        table, relation = source.table, source.relation
        if table is None or relation is None or "" in (families := self.catalog.families(relation, table)):
            return Everything()
        equal: dict[int, Value] = {}
        parts: list[Condition] = []
        for node in nodes:
            if isinstance(node, (exp.Paren, exp.Or)) and not isinstance(node, exp.And):
                parts.append(self.condition(source, node))
            for left, right, sign in _comparisons(node):
                place = self.place(left)
                if place is None or place[0] != source.alias or place[1] not in table.key:
                    continue
                n = table.key.index(place[1])
                if (value := value_of(right, families[n])) is None:
                    continue
                if sign == "=":
                    if n in equal and len(table.key) == 1:
                        parts.append(Keys(table, families, ((equal[n],),)))
                    equal[n] = value
                elif len(table.key) == 1:
                    parts.append(Span(table, families[n], *((value, None) if sign == ">" else (None, value))))
            if isinstance(node, exp.In) and len(table.key) == 1:
                parts.append(self._in(source, table, families, node))
        if len(equal) == len(table.key):
            parts.append(Keys(table, families, (tuple(equal[n] for n in range(len(table.key))),)))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts)) if parts else Everything()

    def _in(self, source: Source, table: Table, families: tuple[str, ...], node: exp.In) -> Condition:
        values = [value_of(item, families[0]) for item in node.expressions]
        known = [(value,) for value in values if value is not None]
        if self.place(node.this) != (source.alias, table.key[0]) or not values or len(known) < len(values):
            return Everything()
        return Keys(table, families, tuple(known))


class Equal:
    """Columns that must be equal."""

    def __init__(self) -> None:
        self._parents: dict[Place, Place] = {}

    def _root(self, place: Place) -> Place:
        while place in self._parents:
            place = self._parents[place]
        return place

    def join(self, one: Place, other: Place) -> None:
        """Take two columns as equal."""
        a, b = self._root(one), self._root(other)
        if a != b:
            self._parents[a] = b

    def same(self, one: Place, other: Place) -> bool:
        """Whether two columns are equal."""
        return self._root(one) == self._root(other)

    def learn(self, scope: Scope, conditions: Sequence[exp.Expr]) -> None:
        """Take what conditions say."""
        for node in conditions:
            if isinstance(node, exp.EQ):
                one, other = scope.place(node.this), scope.place(node.expression)
                if one is not None and other is not None:
                    self.join(one, other)


def _comparisons(node: exp.Expr) -> Iterator[tuple[exp.Expr, exp.Expr, str]]:
    """Yield a comparison as (column, value, sign), both ways round; limits are taken as included."""
    match node:
        case exp.EQ():
            left, right = _bare(node.this), _bare(node.expression)
            if isinstance(left, exp.Tuple) and isinstance(right, exp.Tuple):
                pairs = list(zip(left.expressions, right.expressions, strict=False))
            else:
                pairs = [(left, right)]
            for one, other in pairs:
                yield one, other, "="
                yield other, one, "="
        case exp.GT() | exp.GTE():
            yield node.this, node.expression, ">"
            yield node.expression, node.this, "<"
        case exp.LT() | exp.LTE():
            yield node.this, node.expression, "<"
            yield node.expression, node.this, ">"
        case exp.Between() if not node.args.get("symmetric"):
            yield node.this, node.args["low"], ">"
            yield node.this, node.args["high"], "<"


def _bare(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def conjuncts(node: exp.Expr | None) -> list[exp.Expr]:
    """Return the conditions that must all be true."""
    if node is None:
        return []
    if isinstance(node, exp.Where):
        return conjuncts(node.this)
    if isinstance(node, exp.Paren) and isinstance(node.this, (exp.And, exp.Paren)):
        return conjuncts(node.this)
    if isinstance(node, exp.And):
        return [*conjuncts(node.this), *conjuncts(node.expression)]
    return [node]


def relation_of(catalog: Catalog, node: exp.Table, path: Sequence[str]) -> Relation | None:
    """Return the table or view a node names; None for system catalogs, functions, and what there is not."""
    if not isinstance(node.this, exp.Identifier) or (node.args.get("catalog") and not node.args.get("db")):
        return None
    schema, name = name_of(node.args.get("db")), name_of(node.this)
    return None if schema in SYSTEM_SCHEMAS else catalog.find(schema, name, path)


def shadowed(node: exp.Table) -> bool:
    """Whether the name is that of a WITH query that is visible there."""
    return not node.args.get("db") and with_query(node) is not None


def with_query(node: exp.Table) -> exp.CTE | None:
    """Return the WITH query that an unqualified name means, where one of that name is visible."""
    name = name_of(node.this)
    below: exp.Expr = node
    above = node.parent
    while above is not None:
        visible: list[exp.CTE] = []
        if isinstance(above, exp.With):
            # A query sees those before it; all of them, itself too, only where the list is recursive.
            items = above.expressions
            visible = items if above.args.get("recursive") else items[: items.index(below)]
        elif (with_ := above.args.get("with_")) is not None and with_ is not below:
            visible = with_.expressions
        for item in reversed(visible):
            if name_of(item.args["alias"].this) == name:
                return item
        below, above = above, above.parent
    return None


def tables_in(tree: exp.Expr, catalog: Catalog, path: Sequence[str]) -> list[tuple[exp.Table, Relation]]:
    """Return every table or view of people that a statement names, with its node."""
    found = []
    for node in tree.find_all(exp.Table):
        relation = None if shadowed(node) else relation_of(catalog, node, path)
        if relation is not None:
            found.append((node, relation))
    return found
