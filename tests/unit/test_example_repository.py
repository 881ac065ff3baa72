"""The example config repository works as it is, and its editor set-up is that of this version."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from automator67.engine.load import Loader
from automator67.engine.repo.tree import Entry
from automator67.schemas.kinds import YAML_KINDS, schema
from automator67.schemas.repository import check_directory

EXAMPLE = Path(__file__).resolve().parents[2] / "example-config-repo"


def load() -> Any:
    found = [EXAMPLE / "automator67.yaml", *EXAMPLE.glob("apps/*"), *EXAMPLE.glob("nodes/*")]
    entries = [Entry(p.relative_to(EXAMPLE).as_posix(), str(p), p.stat().st_size, 0o100644) for p in found]
    return Loader().load(entries, lambda blob: Path(blob).read_bytes(), "c")


def test_it_validates_without_a_warning() -> None:
    report = check_directory(EXAMPLE)
    assert [str(p) for p in report.problems] == []
    assert report.files == 6


def test_it_asks_for_what_the_demo_shows() -> None:
    desired = load().desired
    assert desired is not None
    assert set(desired.nodes) == {"one", "two"}
    assert {n.kind for n in desired.nodes.values()} == {"agent"}
    hello, clock = desired.apps["hello"], desired.apps["clock"]
    assert (hello.replicas, hello.port, [key for key, _ in hello.env]) == (2, 8080, ["GREETING"])
    assert hello.image == clock.image == "busybox:1.36.1"
    assert hello.health is not None
    assert (hello.health.kind, hello.health.target, hello.health.interval) == ("http", "/", 1.0)
    assert hello.update.healthy_for == 1.0
    assert clock.port is None
    assert clock.depends_on == ("hello",)
    assert desired.apps["report"].job is not None
    # The demo gives its cloud a name of its own by replacing this text.
    assert "name: home\n" in (EXAMPLE / "automator67.yaml").read_text()


def test_the_web_app_writes_its_greeting_and_becomes_the_server() -> None:
    command = load().desired.apps["hello"].command
    assert command[:2] == ("sh", "-c")
    assert "$GREETING" in command[2]
    assert "exec busybox httpd -f -p 8080" in command[2]


@pytest.mark.parametrize("kind", YAML_KINDS)
def test_schemas_for_editors_are_those_of_this_version(kind: Any) -> None:
    hint = "run: automator67 explain --schema all --to example-config-repo/.vscode/schemas"
    kept = json.loads((EXAMPLE / ".vscode" / "schemas" / f"{kind}.schema.json").read_text())
    assert kept == schema(kind), hint


def test_editor_settings_name_schemas_that_are_there() -> None:
    named = json.loads((EXAMPLE / ".vscode" / "settings.json").read_text())["yaml.schemas"]
    assert len(named) == len(YAML_KINDS)
    for path in named:
        assert (EXAMPLE / path).is_file()


def test_the_workflow_has_least_permissions_and_pinned_actions() -> None:
    text = (EXAMPLE / ".github" / "workflows" / "validate.yml").read_text()
    workflow = yaml.load(text, Loader=yaml.BaseLoader)
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in text
    steps = workflow["jobs"]["validate"]["steps"]
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"[\w/.-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
    assert steps[0]["with"]["persist-credentials"] == "false"
    assert steps[-1]["run"] == "automator67 validate --format github"
    # What a pull request's author writes must not become part of a script.
    assert not [s for s in steps if "${{" in s.get("run", "")]


def test_the_pre_commit_hook_runs_validate_once_over_everything() -> None:
    hook = yaml.safe_load((EXAMPLE / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"][0]
    assert (hook["entry"], hook["pass_filenames"]) == ("automator67 validate", False)
    for path in ("automator67.yaml", "apps/hello.yaml", "secrets/x.sealed"):
        assert re.search(hook["files"], path)
    assert not re.search(hook["files"], "README.md")
