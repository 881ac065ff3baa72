"""Groups with rows on several shards: each shard makes partial aggregates, one shard makes them whole. Pure.

Only what is written back exactly as it was understood is rewritten: nodes of the kinds listed here.
"""

from __future__ import annotations

from sqlglot import exp

from automator67.engine.shards.plan.catalog import Catalog
from automator67.engine.shards.plan.model import Fragment, Gathered, Plan
from automator67.engine.shards.plan.shapes import grouped, is_aggregate, own_nodes
from automator67.engine.shards.plan.spread import Core, Unproven
from automator67.engine.shards.plan.statements import POSTGRES, name_of, quoted

PARTIAL = "automator67_partial"

_PLAIN = (
    exp.Select, exp.Column, exp.Identifier, exp.Literal, exp.Alias, exp.Table, exp.TableAlias, exp.From, exp.Join,
    exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset, exp.And, exp.Or, exp.Not,
    exp.Paren, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.Null, exp.Boolean, exp.Add, exp.Sub,
    exp.Mul, exp.Neg, exp.Coalesce, exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Filter, exp.Star, exp.In,
    exp.Between, exp.LogicalAnd, exp.LogicalOr, exp.Div, exp.Distinct,
)  # fmt: skip
_RANKS = {21: 0, 23: 1, 20: 2, 1700: 3, 701: 4}
_NUMERIC, _BIGINT, _DOUBLE = 3, 2, 4


def partial(tree: exp.Select, core: Core, catalog: Catalog) -> Plan | None:
    """Return the plan that merges partial aggregates, None where a part of the query has no exact merge."""
    if any(type(node) not in _PLAIN for node in tree.walk()) or any(tree.find_all(exp.Subquery)):
        return None
    try:
        return _Rewrite(tree, core, catalog).plan()
    except Unproven:
        return None


class _Rewrite:
    def __init__(self, tree: exp.Select, core: Core, catalog: Catalog) -> None:
        self._tree = tree
        self._core = core
        self._catalog = catalog
        self._groups: list[exp.Expr] = []
        self._parts: list[tuple[exp.Expr, str]] = []

    def plan(self) -> Plan:
        tree, order = self._tree, self._tree.args.get("order")
        if any(isinstance(e, exp.Star) or isinstance(e.this, exp.Star) for e in tree.expressions if
               isinstance(e, (exp.Star, exp.Column))):  # fmt: skip
            raise Unproven("*")
        self._groups = self._keys()
        outputs = {name_of(e.args["alias"]) for e in tree.expressions if isinstance(e, exp.Alias)}
        heads = [self._whole(e) for e in tree.expressions]
        having = tree.args.get("having")
        having_text = f" HAVING {self._sql(self._whole(having.this))}" if having is not None else ""
        order_text = self._order(order, outputs) if order is not None else ""
        group_names = ", ".join(f"g{n}" for n in range(len(self._groups)))
        distinct = "DISTINCT " if tree.args.get("distinct") and grouped(tree, self._catalog) else ""
        window = "".join(f" {self._sql(tree.args[k])}" for k in ("limit", "offset") if tree.args.get(k))
        final = (
            f"SELECT {distinct}{', '.join(self._sql(h) for h in heads)} FROM pg_temp.{quoted(PARTIAL)}"  # noqa: S608
            f"{f' GROUP BY {group_names}' if group_names else ''}{having_text}{order_text}{window}"
        )
        fragment = Fragment(PARTIAL, self._fragment(), self._core.where)
        return Gathered("partial aggregates", "every aggregate is made whole of partial ones", (fragment,), final)

    def _keys(self) -> list[exp.Expr]:
        tree = self._tree
        group = tree.args.get("group")
        if group is not None and any(group.args.get(k) for k in ("grouping_sets", "rollup", "cube", "all", "totals")):
            raise Unproven("grouping sets")
        if not grouped(tree, self._catalog):
            distinct = tree.args.get("distinct")
            if distinct is None or distinct.args.get("on"):
                raise Unproven("DISTINCT ON")
            return [e.unalias() for e in tree.expressions]
        keys = []
        for node in group.expressions if group is not None else []:
            if isinstance(node, exp.Literal):
                n = int(node.this) - 1 if not node.is_string and str(node.this).isdigit() else -1
                if not 0 <= n < len(tree.expressions):
                    raise Unproven("a constant as a group")
                node = tree.expressions[n].unalias()
            elif self._core.scope.place(node) is None:
                raise Unproven("a group that is no column")
            keys.append(node)
        return keys

    def _fragment(self) -> str:
        parts = [f"{self._sql(g)} AS g{n}" for n, g in enumerate(self._groups)]
        parts += [f"{self._sql(node)} AS {name}" for node, name in self._parts]
        if not parts:
            raise Unproven("nothing to merge")
        tree = self._tree
        tail = [self._sql(tree.args["from_"])] + [self._sql(join) for join in tree.args.get("joins") or []]
        if tree.args.get("where"):
            tail.append(self._sql(tree.args["where"]))
        if self._groups:
            tail.append("GROUP BY " + ", ".join(str(n + 1) for n in range(len(self._groups))))
        return f"SELECT {', '.join(parts)} {' '.join(tail)}"

    @staticmethod
    def _sql(node: exp.Expr) -> str:
        return POSTGRES.generate(node, copy=True).strip()

    def _order(self, order: exp.Expr, outputs: set[str]) -> str:
        items = []
        for item in order.expressions:
            bare = item.this
            named = isinstance(bare, exp.Column) and not bare.args.get("table") and name_of(bare.this) in outputs
            numbered = isinstance(bare, exp.Literal) and not bare.is_string
            text = self._sql(bare) if named or numbered else self._sql(self._whole(bare))
            nulls = " NULLS FIRST" if item.args.get("nulls_first") else " NULLS LAST"
            items.append(text + (" DESC" if item.args.get("desc") else "") + nulls)
        return " ORDER BY " + ", ".join(items)

    def _whole(self, node: exp.Expr) -> exp.Expr:
        """Return an expression over the partial table."""
        if isinstance(node, exp.Alias):
            return exp.Alias(this=self._whole(node.this), alias=node.args["alias"].copy())
        for n, group in enumerate(self._groups):
            if node == group or self._same_column(node, group):
                return exp.column(f"g{n}")
        bare = node.this if isinstance(node, exp.Filter) else node
        if is_aggregate(bare, self._catalog):
            return self._merged(node, bare)
        if isinstance(node, (exp.Column, exp.Star)):
            raise Unproven("a column that is no group")
        copy = node.copy()
        for key, value in node.args.items():
            if isinstance(value, exp.Expr):
                copy.set(key, self._whole(value))
            elif isinstance(value, list):
                copy.set(key, [self._whole(v) if isinstance(v, exp.Expr) else v for v in value])
        return copy

    def _same_column(self, one: exp.Expr, other: exp.Expr) -> bool:
        place = self._core.scope.place(one)
        return place is not None and place == self._core.scope.place(other)

    def _merged(self, node: exp.Expr, bare: exp.Expr) -> exp.Expr:
        inner = bare.this
        if isinstance(inner, exp.Distinct) or bare.expressions or any(own_nodes(bare, exp.Distinct)):
            raise Unproven("DISTINCT in an aggregate")
        match bare:
            case exp.Count():
                name = self._part(node)
                return self._parsed(f"COALESCE(SUM({name}), 0)::bigint")
            case exp.Sum():
                rank = self._rank(inner)
                name = self._part(node)
                return self._parsed(f"SUM({name})::bigint" if rank < _BIGINT else f"SUM({name})")
            case exp.Avg():
                self._rank(inner)
                total, count = self._part(self._other(node, exp.Sum)), self._part(self._other(node, exp.Count))
                return self._parsed(f"SUM({total}) / NULLIF(SUM({count}), 0)")
            case exp.Min() | exp.Max() | exp.LogicalAnd() | exp.LogicalOr():
                name = self._part(node)
                return type(bare)(this=exp.column(name))
        raise Unproven("an aggregate that cannot be merged")

    @staticmethod
    def _parsed(text: str) -> exp.Expr:
        found = POSTGRES.parse(f"SELECT ({text})")[0]
        assert found is not None
        whole: exp.Expr = found.expressions[0]
        return whole

    @staticmethod
    def _other(node: exp.Expr, kind: type[exp.Expr]) -> exp.Expr:
        if isinstance(node, exp.Filter):
            return exp.Filter(this=kind(this=node.this.this.copy()), expression=node.expression.copy())
        return kind(this=node.this.copy())

    def _part(self, node: exp.Expr) -> str:
        for known, name in self._parts:
            if known == node:
                return name
        self._parts.append((node, f"p{len(self._parts)}"))
        return self._parts[-1][1]

    def _rank(self, node: exp.Expr) -> int:
        """Return how wide a number is: sums of the narrow ones are bigint. Raises Unproven."""
        match node:
            case exp.Paren() | exp.Neg():
                return self._rank(node.this)
            case exp.Add() | exp.Sub() | exp.Mul():
                return max(self._rank(node.this), self._rank(node.expression))
            case exp.Literal() if not node.is_string:
                text = str(node.this)
                if not text.isdigit():
                    return _NUMERIC
                return 1 if int(text) < 2**31 else _BIGINT if int(text) < 2**63 else _NUMERIC
            case exp.Column():
                place = self._core.scope.place(node)
                source = self._core.scope.sources.get(place[0]) if place else None
                column = source.relation.by_name.get(place[1]) if place and source and source.relation else None
                if column is not None and column.type in _RANKS:
                    return _RANKS[column.type]
        raise Unproven("the type of a sum is not certain")
