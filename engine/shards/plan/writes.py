"""Plans INSERT, UPDATE and DELETE: each row on its own shard, copies on all, or refused. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from automator67.engine.shards.layout import Table
from automator67.engine.shards.plan.catalog import Catalog, Relation
from automator67.engine.shards.plan.conditions import Condition, Constant, Everything, Keys, Value, value_of
from automator67.engine.shards.plan.model import Fan, OneShard, Plan, Refused, Rows
from automator67.engine.shards.plan.names import Scope, Source, conjuncts, relation_of, tables_in
from automator67.engine.shards.plan.purity import unsteady
from automator67.engine.shards.plan.sources import source_of
from automator67.engine.shards.plan.statements import Statement, Unreadable, name_of


def plan_write(statement: Statement, tree: exp.Expr, catalog: Catalog, path: Sequence[str]) -> Plan:
    """Return where rows are changed. Raises Refused."""
    if not isinstance(tree, (exp.Insert, exp.Update, exp.Delete)):
        raise Refused(f"{statement.word(0)} cannot be used through the router", "Use INSERT ... ON CONFLICT.")
    if tree.args.get("with_"):
        raise Refused("WITH before a statement that changes rows cannot be used through the router")
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    relation = relation_of(catalog, target, path) if isinstance(target, exp.Table) else None
    table = catalog.cut(relation) if relation is not None else None
    others = [(n, r) for n, r in tables_in(tree, catalog, path) if n is not target]
    if relation is None or table is None:
        if behind := [r for _, r in others if catalog.cut(r) is not None]:
            raise Refused(f"it reads {behind[0].name}, which is cut, for a table that is on one shard")
        return OneShard("the table is on the default shard alone", fixed=catalog.layout.default)
    if table.everywhere:
        return _copies(statement, relation, others, catalog)
    if isinstance(tree, exp.Insert):
        return _insert(statement, tree, relation, table, catalog)
    return _change(statement, tree, target, relation, table, catalog, path)


def _copies(
    statement: Statement, relation: Relation, others: Sequence[tuple[exp.Table, Relation]], catalog: Catalog
) -> Plan:
    if reason := unsteady(statement, catalog):
        raise Refused(f"{relation.name} has a copy on each shard, and {reason} may differ between them",
                      "Send the value itself.")  # fmt: skip
    if counted := [c.name for c in relation.columns if c.counts] if statement.kind == "write" else []:
        named = {t.text.lower() for t in statement.tokens}
        if statement.word(0) == "INSERT" and (not set(counted) <= named or "default" in named):
            raise Refused(f"{relation.name} has a copy on each shard, and each would count {counted[0]} on its own",
                          "Send the value itself.")  # fmt: skip
    for _, other in others:
        table = catalog.cut(other)
        if table is None or not table.everywhere:
            raise Refused(f"it reads {other.name}, which is not the same on every shard")
    return Fan(f"{relation.name}: a copy on each shard", Everything(), copy=True)


def _insert(statement: Statement, tree: exp.Insert, relation: Relation, table: Table, catalog: Catalog) -> Plan:
    values = tree.expression
    if not isinstance(values, exp.Values):
        raise Refused(f"only INSERT ... VALUES can be split over the shards of {relation.name}")  # noqa: S608 - a sentence
    if any(tree.find_all(exp.Select)):
        raise Refused("a subquery in VALUES cannot be sent to several shards")
    columns = [c.name for c in relation.columns]
    if isinstance(tree.this, exp.Schema):
        columns = [name_of(c) for c in tree.this.expressions]
    _conflict(tree, relation, table)
    families = catalog.families(relation, table)
    if "" in families:
        raise Refused(f"the key of {relation.name} has a type that rows cannot be placed by")
    rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in values.expressions]
    where = tuple(_row_key(relation, table, families, columns, row) for row in rows)
    head, texts, tail = _cut_text(statement, len(rows))
    return Rows("each row is where its key belongs", head, texts, tail, where)


def _row_key(
    relation: Relation, table: Table, families: tuple[str, ...], columns: list[str], row: list[exp.Expr]
) -> Condition:
    given = dict(zip(columns, row, strict=False))
    key: list[Value] = []
    for name, family in zip(table.key, families, strict=True):
        if name not in given:
            raise Refused(f"the row has no value for {name}, by which {relation.name} is cut", code="23502")
        value = value_of(given[name], family)
        if value is None:
            raise Refused(f"the value of {name}, by which {relation.name} is cut, must be a constant or a parameter")
        if value == Constant(None):
            raise Refused(f"{name}, by which {relation.name} is cut, cannot be NULL", code="23502")
        key.append(value)
    for column in relation.columns:
        if column.counts and (column.name not in given or isinstance(given[column.name], exp.Var)):
            raise Refused(
                f"each shard would count {relation.name}.{column.name} on its own, and ids would come twice",
                "Send the value; for example use uuid keys.",
            )
    return Keys(table, families, (tuple(key),))


def _conflict(tree: exp.Insert, relation: Relation, table: Table) -> None:
    conflict = tree.args.get("conflict")
    if conflict is None:
        return
    named = {name_of(i) for key in conflict.args.get("conflict_keys") or [] for i in key.find_all(exp.Identifier)}
    if conflict.args.get("constraint") or (named and not set(table.key) <= named):
        raise Refused(
            f"ON CONFLICT must name the key of {relation.name} ({', '.join(table.key)}): "
            "what is unique without it is so on each shard alone"
        )
    for change in conflict.expressions:
        if isinstance(change, exp.EQ) and name_of(change.this.this) in table.key:
            raise Refused(f"ON CONFLICT cannot change {name_of(change.this.this)}, by which {relation.name} is cut")


def _cut_text(statement: Statement, count: int) -> tuple[str, tuple[str, ...], str]:
    """Return the text before the rows, each row, and the text after them."""
    start = next(n for n, t in enumerate(statement.tokens) if t.text.upper() == "VALUES")
    shift = statement.start
    depth, begin, spans = 0, 0, list[tuple[int, int]]()
    for token in statement.tokens[start + 1 :]:
        if token.text == "(":
            begin = token.start if depth == 0 else begin
            depth += 1
        elif token.text == ")":
            depth -= 1
            if depth == 0:
                spans.append((begin - shift, token.end + 1 - shift))
        elif depth == 0 and token.text != ",":
            break
    if len(spans) != count:
        raise Unreadable("the rows cannot be told apart")
    text = statement.text
    return text[: spans[0][0]], tuple(text[a:b] for a, b in spans), text[spans[-1][1] :]


def _change(
    statement: Statement, tree: exp.Update | exp.Delete, target: exp.Table, relation: Relation, table: Table,
    catalog: Catalog, path: Sequence[str],
) -> Plan:  # fmt: skip
    if isinstance(tree, exp.Update):
        for change in tree.expressions:
            changed = {name_of(c.this) for c in change.this.find_all(exp.Column)}
            if moved := changed & set(table.key):
                raise Refused(
                    f"{min(moved)} decides the shard of a row of {relation.name} and cannot be changed",
                    "Insert the row anew and delete the old one, in one transaction.",
                )
    scope = Scope(catalog)
    source = source_of(target, catalog, path) or Source(relation.name, target, None)
    scope.sources[source.alias] = source
    joined = [tree.args["from_"].this] if tree.args.get("from_") else list(tree.args.get("using") or [])
    for node in joined:
        if (other := source_of(node, catalog, path)) is not None:
            scope.sources[other.alias] = other
    certain = conjuncts(tree.args.get("where"))
    condition = scope.all_of(source, certain)
    _only_local(scope, source, certain, tree, target, catalog, path)
    words = {t.text.lower() for t in statement.tokens}
    if "ctid" in words or "current" in words:
        raise Refused("ctid and CURRENT OF mean nothing across shards")
    several: Plan = Fan(f"rows of {relation.name} may be on every shard", condition)
    reason = unsteady(statement, catalog)
    if isinstance(condition, Everything):
        if reason:
            raise Refused(f"it changes rows on several shards, and {reason} may differ between them",
                          "Send the value itself.")  # fmt: skip
        return several
    return OneShard("the key is given", (condition,), otherwise=None if reason else several)


def _only_local(
    scope: Scope, source: Source, certain: Sequence[exp.Expr], tree: exp.Expr, target: exp.Table, catalog: Catalog,
    path: Sequence[str],
) -> None:  # fmt: skip
    """Refuse a statement whose other tables may have matching rows on another shard."""
    near = {s.alias for s in scope.sources.values() if s is source or (s.table and s.table.everywhere)}
    assert source.table is not None
    assert source.relation is not None
    for other in scope.sources.values():
        if other.alias in near or other.table is None or other.relation is None:
            continue
        same = catalog.group(other.relation, other.table) == catalog.group(source.relation, source.table)
        pairs = {(scope.place(n.this), scope.place(n.expression)) for n in certain if isinstance(n, exp.EQ)}
        wanted = [
            ((source.alias, a), (other.alias, b)) for a, b in zip(source.table.key, other.table.key, strict=False)
        ]
        if same and all((a, b) in pairs or (b, a) in pairs for a, b in wanted):
            near.add(other.alias)
    nodes = {id(s.node) for s in scope.sources.values() if s.alias in near}
    for node, relation in tables_in(tree, catalog, path):
        table = catalog.cut(relation)
        if node is not target and id(node) not in nodes and not (table is not None and table.everywhere):
            raise Refused(f"rows of {relation.name} that count may be on another shard",
                          "Compare both tables' shard keys with each other.")  # fmt: skip
