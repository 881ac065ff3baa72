"""Problems in the forms that people, GitHub Actions and code scanners read. Pure.

``prefix`` is put before file names: from where the reader stands to the root of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from automator67.schemas.problem import Problem

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_text(problems: Sequence[Problem], prefix: str = "") -> Iterator[str]:
    """Yield one line per problem: ``file:line:column: path: message; hint``, safe to print on a terminal."""
    for p in problems:
        mark = " (warning)" if p.severity == "warning" else ""
        yield _printable(f"{prefix}{p}{mark}")


def as_github(problems: Sequence[Problem], prefix: str = "") -> Iterator[str]:
    """Yield one workflow command per problem, which GitHub shows at its line of the pull request.

    The form and its escapes are those of GitHub's workflow commands (``::error file=...::message``).
    """
    for p in problems:
        where = f"file={_property(prefix + p.file)},line={max(1, p.line)},col={max(1, p.column)}"
        yield f"::{p.severity} {where},title={_property(p.code)}::{_data(_said(p))}"


def as_sarif(problems: Sequence[Problem], prefix: str, version: str) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log (OASIS standard) with one result per problem."""
    rules = sorted({p.code for p in problems})
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {"name": "automator67", "version": version, "rules": [{"id": rule} for rule in rules]}
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(p, prefix, rules) for p in problems],
            }
        ],
    }


def _result(p: Problem, prefix: str, rules: list[str]) -> dict[str, Any]:
    place = {
        "artifactLocation": {"uri": quote(prefix + p.file)},
        "region": {"startLine": max(1, p.line), "startColumn": max(1, p.column)},
    }
    return {
        "ruleId": p.code,
        "ruleIndex": rules.index(p.code),
        "level": p.severity,
        "message": {"text": _printable(_said(p))},
        "locations": [{"physicalLocation": place}],
    }


def _said(p: Problem) -> str:
    text = f"{p.path}: {p.message}" if p.path else p.message
    return f"{text}; {p.hint}" if p.hint else text


def _printable(text: str) -> str:
    """Replace what could move a terminal's cursor or start a line of its own."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _data(text: str) -> str:
    return _printable(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
