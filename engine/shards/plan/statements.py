"""Cuts a text into statements and says what kind each is. Pure.

PostgreSQL's words decide: what the parser behind cannot read is still known by its first word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

POSTGRES = Dialect.get_or_raise("postgres")

_LEXEME = re.compile(
    r"""(?P<skip>[eE]'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*|[^\W\d][\w$]*)"""
    r"""|(?P<quote>\$(?:[^\W\d]\w*)?\$)|(?P<number>\$[0-9]+)""",
    re.DOTALL,
)
_COMMENT = re.compile(r"/\*|\*/")


class _Parametrised(Postgres):
    """PostgreSQL without dollar-quoted strings, for texts with parameters.

    Postgres' own tokenizer takes ``$1,$`` for the start of such a string.
    """

    class Tokenizer(Postgres.Tokenizer):
        """A dollar is always that of a parameter."""

        HEREDOC_STRINGS: ClassVar[list[str | tuple[str, str]]] = []
        SINGLE_TOKENS: ClassVar[dict[str, TokenType]] = {
            **Postgres.Tokenizer.SINGLE_TOKENS, "$": TokenType.PARAMETER,
        }  # fmt: skip


_PARAMETRISED = _Parametrised()

Kind = Literal["select", "write", "copy", "ddl", "begin", "end", "savepoint", "set", "explain", "session", "truncate"]

_KINDS: dict[str, Kind] = {
    "SELECT": "select", "VALUES": "select", "WITH": "select", "TABLE": "select", "(": "select",
    "INSERT": "write", "UPDATE": "write", "DELETE": "write", "MERGE": "write",
    "COPY": "copy", "TRUNCATE": "truncate",
    "CREATE": "ddl", "ALTER": "ddl", "DROP": "ddl", "COMMENT": "ddl", "GRANT": "ddl", "REVOKE": "ddl",
    "ANALYZE": "ddl", "VACUUM": "ddl", "REINDEX": "ddl",
    "BEGIN": "begin", "START": "begin",
    "COMMIT": "end", "END": "end", "ROLLBACK": "end", "ABORT": "end",
    "SAVEPOINT": "savepoint", "RELEASE": "savepoint",
    "SET": "set", "RESET": "set", "SHOW": "set", "EXPLAIN": "explain",
}  # fmt: skip


class Unreadable(Exception):
    """The text is none that the parser can read; what PostgreSQL says of it counts."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its text as it was written, its kind, its tokens; it begins at ``start`` of the whole text."""

    text: str
    kind: Kind
    tokens: tuple[Token, ...]
    start: int = 0

    def word(self, n: int) -> str:
        """Return the n-th word in upper case, nothing after the last one."""
        return self.tokens[n].text.upper() if n < len(self.tokens) else ""


def _dialect(text: str) -> Dialect:
    """Return how a text is to be cut into words. Raises Unreadable."""
    if "$" not in text:
        return POSTGRES
    at, quotes, numbers = 0, False, False
    while (found := _LEXEME.search(text, at)) is not None:
        at = found.end()
        numbers = numbers or found["number"] is not None
        if found["quote"]:
            quotes = True
            at = text.find(found["quote"], at) + len(found["quote"])
            if at < found.end():
                raise Unreadable("a dollar-quoted string has no end")
        elif found[0] == "/*":
            at = _after_comment(text, at)
    if quotes and numbers:
        raise Unreadable("parameters and dollar-quoted strings meet in one statement")
    return _PARAMETRISED if numbers else POSTGRES


def _after_comment(text: str, at: int) -> int:
    depth = 1
    while depth:
        found = _COMMENT.search(text, at)
        if found is None:
            raise Unreadable("a comment has no end")
        depth += 1 if found[0] == "/*" else -1
        at = found.end()
    return at


def split(text: str) -> list[Statement]:
    """Return the statements of a text; empty ones are left out. Raises Unreadable."""
    try:
        tokens = _dialect(text).tokenize(text)
    except SqlglotError as trouble:
        raise Unreadable(str(trouble)) from trouble
    found: list[Statement] = []
    start, part = 0, list[Token]()
    for token in [*tokens, None]:
        if token is not None and token.token_type is not TokenType.SEMICOLON:
            part.append(token)
            continue
        end = len(text) if token is None else token.start
        if part:
            found.append(Statement(text[start:end], _kind(part), tuple(part), start))
        start, part = end + 1, []
    return found


def _kind(tokens: Sequence[Token]) -> Kind:
    return _KINDS.get(tokens[0].text.upper(), "session")


def parse(statement: Statement) -> exp.Expr:
    """Return the syntax tree of a statement. Raises Unreadable."""
    try:
        trees = _dialect(statement.text).parse(statement.text)
    except SqlglotError as trouble:
        raise Unreadable(str(trouble).split("\n")[0]) from trouble
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    if len(trees) != 1 or trees[0] is None or isinstance(trees[0], exp.Command):
        raise Unreadable("the router does not know this form")
    return trees[0]


def name_of(identifier: exp.Expr | str | None) -> str:
    """Return a name as PostgreSQL folds it: in lower case, unless it was quoted."""
    if not isinstance(identifier, exp.Identifier):
        return str(identifier or "").lower()
    return str(identifier.this) if identifier.args.get("quoted") else str(identifier.this).lower()


def quoted(name: str) -> str:
    """Return a name as it is written in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a string as it is written in SQL, whatever standard_conforming_strings says."""
    escaped = text.replace("'", "''")
    return "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in text else f"'{escaped}'"
