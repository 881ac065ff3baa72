"""Plans statements that make or change tables: declared tables are on every shard, others on the default one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from automator67.engine.shards.plan.catalog import Catalog, Relation
from automator67.engine.shards.plan.conditions import Everything
from automator67.engine.shards.plan.model import Fan, OneShard, Plan, Refused
from automator67.engine.shards.plan.statements import Statement

_SHARED = frozenset(
    {"SCHEMA", "TYPE", "DOMAIN", "EXTENSION", "FUNCTION", "PROCEDURE", "AGGREGATE", "COLLATION", "OPERATOR", "CAST"}
)
_SKIPPED = frozenset(
    {"IF", "NOT", "EXISTS", "ONLY", "TABLE", "CONCURRENTLY", "UNIQUE", "INDEX", "OR", "REPLACE", "MATERIALIZED", "VIEW"}
)


def plan_ddl(statement: Statement, catalog: Catalog, path: Sequence[str]) -> Plan:
    """Return where a statement that changes tables runs. Raises Refused."""
    words = [token.text.upper() for token in statement.tokens]
    if words[0] == "CREATE" and {"TEMP", "TEMPORARY"} & set(words[1:4]):
        raise Refused("temporary tables cannot be used: connections are shared", "Use WITH, or an ordinary table.")
    if _SHARED & set(words[1:5]):
        return Fan("types, schemas and functions are needed on every shard", Everything(), copy=True, ddl=True)
    declared, others = _named(statement, catalog, path)
    if declared and others:
        names = f"{declared[0]} is on every shard and {others[0]} on one"
        raise Refused(f"{names}: they cannot be changed in one statement", "Send one statement for each.")
    if declared:
        return Fan(f"{', '.join(declared)}: on every shard", Everything(), copy=True, ddl=True)
    return OneShard("it is about no declared table", fixed=catalog.layout.default)


def _named(statement: Statement, catalog: Catalog, path: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the declared and the other tables that the statement is about."""
    tokens = statement.tokens
    start = 1
    if statement.word(0) in ("CREATE", "DROP", "COMMENT", "GRANT", "REVOKE"):
        # CREATE INDEX name ON table, COMMENT ON TABLE name, GRANT ... ON table: what counts follows ON.
        ons = [n for n in range(1, len(tokens)) if statement.word(n) == "ON"]
        about = statement.word(1) == "TABLE" or statement.word(2) == "TABLE"
        start = ons[0] + 1 if ons and not (about and statement.word(0) in ("CREATE", "DROP")) else 1
    while start < len(tokens) and statement.word(start) in _SKIPPED:
        start += 1
    if statement.word(0) == "DROP" and statement.word(1) == "INDEX":
        return _of_indexes(statement, start, catalog, path)
    several = statement.word(0) in ("DROP", "TRUNCATE", "GRANT", "REVOKE")
    declared, others = list[str](), list[str]()
    while start < len(tokens):
        schema, name, start = _name(statement, start)
        where = schema or next((s for s in path if (s, name) in catalog.relations), path[0] if path else "public")
        (declared if catalog.layout.table(where, name) else others).append(name)
        if not several or statement.word(start) != ",":
            break
        start += 1
    return declared, others


def _of_indexes(statement: Statement, start: int, catalog: Catalog, path: Sequence[str]) -> tuple[list[str], list[str]]:
    declared, others = list[str](), list[str]()
    while start < len(statement.tokens):
        schema, name, start = _name(statement, start)
        relation: Relation | None = catalog.find(schema, name, path)
        tables = [catalog.layout.table(*table) for table in relation.reads] if relation else []
        (declared if any(tables) else others).append(name)
        if statement.word(start) != ",":
            break
        start += 1
    return declared, others


def _name(statement: Statement, at: int) -> tuple[str, str, int]:
    """Return the schema and name at ``at``, and where the text goes on."""

    def folded(n: int) -> str:
        token = statement.tokens[n]
        written = statement.tokens[n].token_type.name == "IDENTIFIER"
        return token.text if written else token.text.lower()

    first = folded(at)
    if statement.word(at + 1) == "." and at + 2 < len(statement.tokens):
        return first, folded(at + 2), at + 3
    return "", first, at + 1
