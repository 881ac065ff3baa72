"""Reads one file of the config repository: YAML, then the schema of its kind, with positions for what is wrong.

Valid documents keep no positions: they are found again from the bytes when a rule across files needs one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import jsonschema_rs

from automator67.schemas.armor import ArmorError
from automator67.schemas.complaints import complaints
from automator67.schemas.findings import position
from automator67.schemas.kinds import YAML_KINDS, Kind, classify, schema
from automator67.schemas.local_rules import local_findings, secret_references
from automator67.schemas.problem import Problem
from automator67.schemas.sealed import read_sealed
from automator67.schemas.sops import read_names
from automator67.schemas.source import Path, dotted, positions, read_yaml


@dataclass(frozen=True, slots=True)
class Document:
    """One file: ``value`` is what it says when it is valid, None otherwise (secrets and queries say nothing here)."""

    path: str
    kind: Kind | None
    name: str
    value: dict[str, Any] | None
    problems: tuple[Problem, ...] = ()
    secrets: tuple[Path, ...] = ()
    """Where the document refers to secrets."""
    holds: tuple[str, ...] = ()
    """The secrets that are written in it."""


def read(path: str, data: bytes) -> Document:
    """Return the document at ``path``. Never raises: whatever is wrong becomes problems."""
    what = classify(path)
    if what.trouble:
        severity = "warning" if what.warning else "error"
        problem = Problem("file", path, 1, 1, "", what.trouble, what.hint, severity)  # type: ignore[arg-type]
        return Document(path, what.kind, what.name, None, (problem,))
    if what.kind == "secret":
        return _secret(path, what.name, data)
    if what.kind not in YAML_KINDS:
        return Document(path, what.kind, what.name, None)
    source = read_yaml(path, data)
    if source.problems:
        return Document(path, what.kind, what.name, None, tuple(source.problems))
    problems = _check(what.kind, path, data, source.value)
    if not problems:
        problems = _local(what.kind, path, data, source.value)
    if not problems and what.kind == "app":
        problems = _lossy(path, data, source.value, source.lossy)
    if problems:
        return Document(path, what.kind, what.name, None, tuple(problems))
    return Document(path, what.kind, what.name, source.value, (), tuple(secret_references(source.value)))


def _secret(path: str, name: str, data: bytes) -> Document:
    if not path.endswith(".sealed"):
        holds, problems = read_names(path, data)
        return Document(path, "secret", name, None, problems, holds=holds)
    problems = ()
    try:
        file = read_sealed(data)
        if file.name != name:
            raise ArmorError(3, f"this value was sealed as secret {file.name}, not as {name}")
    except ArmorError as error:
        hint = f"seal the value again: automator67 seal {name}"
        problems = (Problem("sealed", path, error.line, 1, "", str(error), hint),)
    return Document(path, "secret", name, None, problems, holds=(name,))


def _check(kind: Kind, path: str, data: bytes, value: Any) -> list[Problem]:
    if _validator(kind).is_valid(value):
        return []
    where = positions(path, data)
    found = [
        Problem(c.code, path, *position(where, c.path), dotted(c.path), c.message, c.hint)
        for c in complaints(schema(kind), value)
    ]
    found.sort(key=lambda problem: (problem.line, problem.column))
    return found or [Problem("invalid", path, 1, 1, "", f"this is not a valid {kind}")]


def _local(kind: Kind, path: str, data: bytes, value: Any) -> list[Problem]:
    findings = list(local_findings(kind, value))
    where = positions(path, data) if findings else {}
    return [f.problem(path, where) for f in findings]


def _lossy(path: str, data: bytes, value: Any, lossy: list[Path]) -> list[Problem]:
    """In ``env`` a plain word is a text in the end: one that would be spelt differently there is refused."""
    wrong = [p for p in lossy if len(p) == 2 and p[0] == "env"]
    if not wrong:
        return []
    where = positions(path, data)
    found = []
    for p in wrong:
        word = value["env"][p[1]]
        text = f"this {'word' if isinstance(word, bool) else 'number'} would become {str(word).lower()}"
        hint = "quote it to keep its spelling"
        found.append(Problem("spelling", path, *position(where, p), dotted(p), text, hint))
    return found


@cache
def _validator(kind: Kind) -> Any:
    return jsonschema_rs.Draft202012Validator(schema(kind))
