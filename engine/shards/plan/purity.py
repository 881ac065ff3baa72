"""Whether a statement means the same on every shard: no clock, chance, sequence or name of a server in it. Pure."""

from __future__ import annotations

from sqlglot.tokenizer_core import TokenType

from automator67.engine.shards.plan.catalog import Catalog
from automator67.engine.shards.plan.statements import Statement

_MOVING = frozenset(
    {
        "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp",
        "current_user", "session_user", "user", "current_role", "current_catalog", "current_schema",
    }
)  # fmt: skip
_MOMENTS = frozenset({"now", "today", "tomorrow", "yesterday", "allballs"})
_STABLE = frozenset(
    {
        "date_trunc", "date_part", "to_char", "to_date", "to_timestamp", "timezone", "format", "concat", "concat_ws",
    }
)  # fmt: skip
"""They depend on settings of the session alone, which are the same on every shard."""

_WORDS = frozenset(
    {
        "in", "values", "and", "or", "not", "as", "on", "any", "all", "some", "exists", "using",
        "over", "filter", "where", "select", "from", "when", "then", "else", "by", "having", "case",
        "distinct", "like", "ilike", "between", "union", "except", "intersect", "cast", "extract",
        "coalesce", "nullif", "greatest", "least", "substring", "position", "trim", "overlay",
        "row", "array", "sets", "rollup", "cube", "interval", "lateral", "with", "returning",
        "limit", "offset", "is", "group", "within", "table", "numeric", "decimal", "varchar",
        "char", "character", "bpchar", "bit", "timestamp", "timestamptz", "time", "timetz", "float",
        "precision", "varying", "materialized", "similar", "conflict", "into", "set", "key",
        "primary", "unique", "references", "check", "generated", "end", "fetch", "first", "next",
        "order", "partition", "to", "join", "left", "right", "full", "inner", "cross", "natural",
    }
)  # fmt: skip
"""Words before a parenthesis that name no function."""


def unsteady(statement: Statement, catalog: Catalog) -> str:
    """Return the first word that may mean something else on another shard, or nothing."""
    tokens = statement.tokens
    for n, token in enumerate(tokens):
        word = token.text.lower()
        if token.token_type is TokenType.STRING:
            if word.strip() in _MOMENTS:
                return f"'{word}'"
            continue
        if word in _MOVING and token.token_type is not TokenType.IDENTIFIER:
            return word
        called = n + 1 < len(tokens) and tokens[n + 1].text == "(" and (word[:1].isalpha() or word[:1] == "_")
        if not called or word in _WORDS or word in _STABLE or word in catalog.steady:
            continue
        if (catalog.relations and _is_name(statement, n)) or token.token_type is TokenType.NUMBER:
            continue
        return f"{word}()"
    return ""


def _is_name(statement: Statement, n: int) -> bool:
    """Whether the word before a parenthesis names a table or an alias: INSERT INTO word (, AS word (, WITH word (."""
    before = statement.word(n - 1) if n else ""
    two_before = statement.word(n - 2) if n > 1 else ""
    return before in ("INTO", "AS") or (before == "." and two_before != "" and statement.word(n - 3) == "INTO")
