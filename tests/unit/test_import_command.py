"""``automator67 import compose``: what is secret is sealed, what is there is not replaced, what is amiss is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from automator67.engine.cli.main import root
from automator67.engine.secrets.keys import Keyring
from automator67.engine.secrets.sealing import open_sealed, read_sealed_file
from automator67.schemas.repository import check_directory
from automator67.schemas.sealed import PUBLIC_KEY_FILE

COMPOSE = """
services:
  web:
    image: ghcr.io/ana/web:1
    ports: ["80:8080"]
    env_file: [app.env]
    environment: {DB_PASSWORD: "${PASSWORD}", GREETING: "grüß dich"}
  db: {image: "postgres:16", restart: always}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a Compose project, and an empty config repository with a key."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "compose.yaml").write_text(COMPOSE)
    (tmp_path / "project" / ".env").write_text("PASSWORD=hunter2\n")
    (tmp_path / "project" / "app.env").write_text("FROM_FILE=1\n")
    (tmp_path / "repo" / "secrets").mkdir(parents=True)
    (tmp_path / "repo" / "automator67.yaml").write_text("name: home\n")
    key = Keyring(tmp_path / "keys").ensure().public
    (tmp_path / "repo" / PUBLIC_KEY_FILE).write_text(key.text())
    return tmp_path


def run(home: Path, *more: str, file: str = "project") -> Result:
    return CliRunner().invoke(root, ["import", "compose", str(home / file), "--repo", str(home / "repo"), *more])


def files(home: Path) -> set[str]:
    return {str(p.relative_to(home / "repo")) for p in (home / "repo").rglob("*") if p.is_file()}


def test_a_project_becomes_a_valid_repository(home: Path) -> None:
    before = files(home)
    done = run(home)
    assert done.exit_code == 0, done.output
    assert files(home) - before == {"apps/web.yaml", "apps/db.yaml", "secrets/web-db-password.sealed"}
    text = (home / "repo" / "apps" / "web.yaml").read_text()
    assert "# From service web of compose.yaml." in text
    assert "grüß dich" in text
    assert "FROM_FILE" in text
    assert "hunter2" not in text + done.output
    sealed = home / "repo" / "secrets" / "web-db-password.sealed"
    opened = open_sealed(
        Keyring(home / "keys").ensure(), read_sealed_file("x", sealed.read_bytes()), "home", "web-db-password", "x"
    )
    assert opened == b"hunter2"
    assert [str(p) for p in check_directory(home / "repo").problems] == []
    assert "sealed web-db-password" in done.output
    # What two services share is said once.
    assert done.output.count("no limit of memory") == 1
    assert "web, db: no limit of memory" in done.output
    again = run(home)
    assert again.exit_code != 0
    assert "apps/web.yaml, apps/db.yaml are there already" in again.output


def test_a_dry_run_prints_and_writes_nothing(home: Path) -> None:
    before = files(home)
    done = run(home, "--dry-run")
    assert done.exit_code == 0
    assert "would write apps/web.yaml" in done.output
    assert "    port: 8080" in done.output
    assert "hunter2" not in done.output
    assert files(home) == before


def test_without_a_key_it_says_what_to_seal(home: Path) -> None:
    (home / "repo" / PUBLIC_KEY_FILE).unlink()
    done = run(home)
    assert done.exit_code == 0
    assert "automator67 seal web-db-password    # its value is in compose.yaml, line 7" in done.output
    assert "secrets/web-db-password.sealed" not in files(home)


def test_programs_get_data_without_secrets(home: Path) -> None:
    done = run(home, "--json", "--only", "web")
    found = json.loads(done.output)
    assert list(found["files"]) == ["apps/web.yaml"]
    assert found["secrets"] == [{"name": "web-db-password", "line": 7, "sealed": True}]
    assert {n["service"] for n in found["notes"]} == {"web"}
    assert "hunter2" not in done.output


def test_files_outside_the_project_are_none_of_its_business(home: Path) -> None:
    (home / "outside.env").write_text("STOLEN=1\n")
    (home / "project" / "link.env").symlink_to(home / "outside.env")
    text = COMPOSE.replace("[app.env]", f"[../outside.env, {home / 'outside.env'}, link.env]")
    (home / "project" / "compose.yaml").write_text(text)
    done = run(home, "--dry-run")
    assert "STOLEN" not in done.output
    assert done.output.count("cannot be read: its variables are missing") == 3


def test_the_environment_counts_more_than_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "other")
    assert run(home, "--env-file", str(home / "project" / "app.env")).exit_code == 0
    sealed = (home / "repo" / "secrets" / "web-db-password.sealed").read_bytes()
    key = Keyring(home / "keys").ensure()
    assert open_sealed(key, read_sealed_file("x", sealed), "home", "web-db-password", "x") == b"other"


@pytest.mark.parametrize(
    ("arguments", "file", "word"),
    [
        (["--only", "wep"], "project", "there is no service wep; did you mean web?"),
        ([], "repo", "there is no compose.yaml in"), ([], "project/.env", ".env:1:1: "),
        ([], "nothing", "does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_a_line(home: Path, arguments: list[str], file: str, word: str) -> None:
    done = run(home, *arguments, file=file)
    assert done.exit_code != 0
    assert word in done.output
    assert "Traceback" not in done.output


def test_outside_of_a_repository_nothing_is_written(home: Path) -> None:
    (home / "repo" / "automator67.yaml").unlink()
    done = run(home)
    assert done.exit_code != 0
    assert "is not there: say with --repo" in done.output
    assert "apps/web.yaml" not in files(home)


def test_nothing_to_carry_is_told(home: Path) -> None:
    (home / "project" / "compose.yaml").write_text("services: {a: {build: .}}")
    done = run(home)
    assert done.exit_code == 1
    assert "a: it is built: say where its repository is with --git URL" in done.output
