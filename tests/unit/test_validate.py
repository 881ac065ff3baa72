"""``automator67 validate`` as people and programs run it: directories, commits, forms of output, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from automator67.schemas.problem import Problem
from automator67.schemas.reports import as_github, as_sarif, as_text

GOOD = {"automator67.yaml": "name: home\n", "nodes/a.yaml": "region: eu\n", "apps/blog.yaml": "image: a\n"}
BAD = {"apps/blog.yaml": "image: a\nprots: 1\nplace: {prefer: {disk: x}}\n"}
GIT = ["git", "-c", "user.name=Ana", "-c", "user.email=ana@example.org", "-c", "commit.gpgsign=false"]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def validate(*arguments: str, cwd: Path, code: int) -> str:
    """Run the real command; return what it prints (its error when it could not check)."""
    done = subprocess.run(
        [sys.executable, "-m", "automator67.engine.cli", "validate", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("A67_")},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if code == 255:
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        return done.stderr
    assert done.stderr == ""
    return done.stdout


def test_a_valid_directory(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert validate(cwd=tmp_path, code=0) == "3 files, no problems\n"


def test_problems_are_lines_that_editors_can_follow(tmp_path: Path) -> None:
    write(tmp_path / "cloud", {**GOOD, **BAD})
    here = validate(cwd=tmp_path / "cloud", code=1)
    assert here == ("apps/blog.yaml:2:1: prots: unknown key 'prots'; did you mean port?\n3 files, 1 problem\n")
    for arguments in (["cloud"], ["cloud/"], [".", "--path", "cloud"]):
        assert validate(*arguments, cwd=tmp_path, code=1).startswith("cloud/apps/blog.yaml:2:1: ")


def test_warnings_alone_are_no_failure(tmp_path: Path) -> None:
    write(tmp_path, {**GOOD, "apps/blog.yaml": "image: a\nplace: {prefer: {disk: x}}\n"})
    assert validate(cwd=tmp_path, code=0) == (
        "apps/blog.yaml:2:18: place.prefer.disk: no node has disk: x (warning)\n3 files, no problems, 1 warning\n"
    )


def test_json_for_programs(tmp_path: Path) -> None:
    write(tmp_path, {**GOOD, **BAD})
    data = json.loads(validate("--json", cwd=tmp_path, code=1))
    assert data == json.loads(validate("--format", "json", cwd=tmp_path, code=1))
    assert (data["files"], data["errors"], data["warnings"]) == (3, 1, 0)
    assert data["problems"] == [
        {
            "code": "unknown-key", "severity": "error", "file": "apps/blog.yaml", "line": 2, "column": 1,
            "path": "prots", "message": "unknown key 'prots'", "hint": "did you mean port?",
        }
    ]  # fmt: skip


def test_annotations_for_github(tmp_path: Path) -> None:
    write(tmp_path / "a,b", {**GOOD, **BAD})
    first = validate("--format", "github", "a,b", cwd=tmp_path, code=1).splitlines()[0]
    assert first == (
        "::error file=a%2Cb/apps/blog.yaml,line=2,col=1,title=unknown-key::"
        "prots: unknown key 'prots'; did you mean port?"
    )


def test_sarif_for_code_scanning(tmp_path: Path) -> None:
    write(tmp_path, {**GOOD, **BAD})
    log = json.loads(validate("--format", "sarif", cwd=tmp_path, code=1))
    assert log["version"] == "2.1.0"
    run = log["runs"][0]
    assert run["tool"]["driver"]["name"] == "automator67"
    result = run["results"][0]
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "unknown-key"
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "apps/blog.yaml"
    assert place["region"] == {"startLine": 2, "startColumn": 1}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a good first commit, a bad second one, and a work tree that is good again."""
    write(tmp_path, GOOD)
    subprocess.run([*GIT, "init", "-q", "-b", "main", "."], cwd=tmp_path, check=True)
    for files in (GOOD, BAD):
        write(tmp_path, files)
        subprocess.run([*GIT, "add", "-A"], cwd=tmp_path, check=True)
        subprocess.run([*GIT, "commit", "-q", "-m", "x"], cwd=tmp_path, check=True)
    write(tmp_path, GOOD)
    return tmp_path


def test_a_commit_is_checked_as_it_is_in_git(repository: Path) -> None:
    assert "1 problem" in validate("main", cwd=repository, code=1)
    assert validate("HEAD~1", cwd=repository, code=0) == "3 files, no problems\n"
    assert validate(cwd=repository, code=0) == "3 files, no problems\n"
    (repository / "apps" / "deeper").mkdir()
    assert "1 problem" in validate("HEAD", cwd=repository / "apps" / "deeper", code=1)


def test_near_misses_and_links_of_a_commit_are_told_as_in_a_directory(repository: Path) -> None:
    (repository / "app").mkdir()
    (repository / "app" / "web.yaml").write_text("image: a\n")
    (repository / "shards").symlink_to("elsewhere")
    subprocess.run([*GIT, "add", "-A"], cwd=repository, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "x"], cwd=repository, check=True)
    for where in ("HEAD", "."):
        said = validate(where, cwd=repository, code=1)
        assert "did you mean apps/?" in said, where
        assert "shards:1:1: this is a symbolic link" in said, where


def test_a_commit_of_a_repository_with_the_configuration_in_a_folder(repository: Path) -> None:
    subprocess.run([*GIT, "mv", "-k", "apps", "nodes", "automator67.yaml", "cloud"], cwd=repository, check=False)
    write(repository, {f"cloud/{name}": text for name, text in {**GOOD, **BAD}.items()})
    subprocess.run([*GIT, "rm", "-qrf", "apps", "nodes", "automator67.yaml"], cwd=repository, check=True)
    subprocess.run([*GIT, "add", "-A"], cwd=repository, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "x"], cwd=repository, check=True)
    assert validate("HEAD", "--path", "cloud", cwd=repository, code=1).startswith("cloud/apps/blog.yaml:2:1")
    assert "choose the folder with --path" in validate("HEAD", cwd=repository, code=255)
    assert "no folder 'nowhere'" in validate("HEAD", "--path", "nowhere", cwd=repository, code=255)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "there is neither a directory nor a commit nowhere here"),
        (["automator67.yaml"], "automator67.yaml is a file; give the directory"),
        (["empty"], "empty holds no automator67.yaml and no folder such as apps/"),
        ([".", "--path", "nowhere"], "there is no folder nowhere in ."),
        (["--format", "xml"], "'xml' is not one of"),
        (["--nonsense"], "--nonsense"),
        (["a", "b"], "unexpected extra argument"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_255(repository: Path, arguments: list[str], said: str) -> None:
    (repository / "empty").mkdir()
    assert said in validate(*arguments, cwd=repository, code=255)


def test_outside_of_git_a_near_miss_is_suggested(tmp_path: Path) -> None:
    write(tmp_path / "cloud", GOOD)
    assert "did you mean cloud?" in validate("clod", cwd=tmp_path, code=255)


def test_it_starts_without_the_engine() -> None:
    """Checking must stay quick: no database, no web, no HTTP, no Docker library is imported for it."""
    code = (
        "import sys\nfrom automator67.engine.cli import main, validate, explain\n"
        "import automator67.schemas.repository\n"
        "heavy = {'sqlalchemy', 'aiohttp', 'docker', 'flask', 'pygit2', 'cryptography', 'alembic', 'jsonschema'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def problem(**more: Any) -> Problem:
    return Problem(
        **{"code": "c", "file": "f.yaml", "line": 1, "column": 2, "path": "a", "message": "m", "hint": "h", **more}
    )


def test_nothing_in_a_report_can_act_on_the_reader() -> None:
    evil = problem(file="a\x1b[2J\nb.yaml", message="x\r\n::error::y %0A", path="p\x07")
    (line,) = as_text([evil])
    assert line == "a\\x1b[2J\\x0ab.yaml:1:2: p\\x07: x\\x0d\\x0a::error::y %0A; h"
    (line,) = as_github([evil])
    assert line == ("::error file=a\\x1b[2J\\x0ab.yaml,line=1,col=2,title=c::p\\x07: x\\x0d\\x0a::error::y %250A; h")
    assert as_sarif([evil], "", "1")["runs"][0]["results"][0]["locations"][0]["physicalLocation"][
        "artifactLocation"
    ] == {"uri": "a%1B%5B2J%0Ab.yaml"}


def test_a_problem_of_a_whole_file_has_a_place_everywhere() -> None:
    whole = problem(line=0, column=0)
    assert "line=1,col=1" in next(as_github([whole]))
    region = as_sarif([whole], "", "1")["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 1, "startColumn": 1}
