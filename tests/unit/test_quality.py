"""The project's own rules: style, types, import contracts, module sizes, docstrings, what must not be mentioned."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("engine", "agent", "schemas", "webhooks", "ui")
TOP = {
    *ROOMS, "example-config-repo", "tests", "docs", "pyproject.toml", "README.md", "LICENSE",
    "CHANGELOG.md", "CONTRIBUTING.md", "Makefile",
}  # fmt: skip
MAX_LINES = 300
MAX_TEST_LINES = 600
LONGER = {"agent/resident.py": 325}
"""Modules that may be longer, and by how much: the one loop that joins the agent's parts."""


def tracked(*patterns: str) -> list[Path]:
    """Return the files git knows (or would add) that match."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def modules() -> list[Path]:
    return [p for p in tracked("*.py") if p.relative_to(ROOT).parts[0] in ROOMS]


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "ruff", "check", "--no-cache", "."],
        ["-m", "ruff", "format", "--check", "--no-cache", "."],
        ["-m", "mypy"],
        ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
    ],
    ids=["ruff", "format", "mypy", "imports"],
)
@pytest.mark.timeout(300)
def test_tools_are_clean(command: list[str]) -> None:
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_top_level_is_the_fixed_one() -> None:
    names = {p.relative_to(ROOT).parts[0] for p in tracked()}
    assert {n for n in names if not n.startswith(".")} <= TOP


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_modules_stay_small() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in modules()
        if (n := _lines(p)) > LONGER.get(str(p.relative_to(ROOT)), MAX_LINES)
    }
    tests = {p: len(p.read_text().splitlines()) for p in tracked("tests/*.py")}
    long |= {str(p.relative_to(ROOT)): n for p, n in tests.items() if n > MAX_TEST_LINES}
    assert long == {}


def test_every_package_is_packaged() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    there = {"automator67." + ".".join(p.relative_to(ROOT).parent.parts) for p in modules()}
    assert there <= listed
    assert listed - there == {"automator67.example"}


def test_what_is_public_says_what_it_is() -> None:
    silent = []
    for path in modules():
        tree = ast.parse(path.read_text())
        if path.name != "__init__.py" or tree.body:
            silent += [] if ast.get_docstring(tree) else [str(path.relative_to(ROOT))]
        for node in ast.walk(tree):
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or node.name.startswith("_"):
                continue
            if _inside_private(tree, node) or ast.get_docstring(node):
                continue
            silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert silent == []


def _inside_private(tree: ast.Module, node: ast.AST) -> bool:
    """Whether a definition is inside a function, a private class or a Protocol's plain property."""
    for outer in ast.walk(tree):
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef)) and outer is not node:
            if any(inner is node for inner in ast.walk(outer)):
                return True
        elif isinstance(outer, ast.ClassDef) and outer is not node:
            hidden = outer.name.startswith("_") or any("Protocol" in ast.unparse(b) for b in outer.bases)
            overrides = any(ast.unparse(b).split(".")[-1] not in ("object", "Exception") for b in outer.bases)
            if (hidden or overrides) and any(inner is node for inner in ast.walk(outer)):
                return True
    return False


def test_the_project_speaks_of_itself_alone() -> None:
    words = re.compile(
        r"/work/|/tmp/w\b|(?<![\w.])/(home|Users)/\w+/|/root/\w|\b(issue|PR|pull request) #\d+|\bissue \d+"
        r"|pypi\.org|npmjs|files\.pythonhosted|deb\.debian\.org",
        re.IGNORECASE,
    )
    found = []
    for path in tracked():
        if path == Path(__file__) or path.suffix in (".png", ".svg") or path.name == "LICENSE":
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if words.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
            if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)} -> {target}")
    assert broken == []


def test_what_the_documents_tell_to_type_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    told = {t for p in tracked("*.md") for t in re.findall(r"(?:^|`)make ([a-z]+)", p.read_text(), re.MULTILINE)}
    assert {"demo", "test", "quick"} <= told
    assert {t for t in told if not re.search(rf"^{t}:", makefile, re.MULTILINE)} == set()
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    modules = {m for p in tracked("*.md") for m in re.findall(r"python -m (tests\.bench\.\w+)", p.read_text())}
    assert {m for m in modules if not (ROOT / Path(*m.split(".")).with_suffix(".py")).exists()} <= {
        "tests.bench.bench_NAME"
    }


@pytest.mark.parametrize("script", ["tests/run.sh", ".ci/run"])
def test_scripts_parse_and_can_be_run(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)
