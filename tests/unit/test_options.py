"""What the engine is started with: secrets from files and the environment only, and errors that say what to write."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from automator67.engine.cli.options import argv_of, options_of
from automator67.engine.clock import steady_now
from automator67.engine.options import OptionError, Options, is_local, secrets_from, token_from
from automator67.engine.webconfig import write_web_config

LONG = "0123456789abcdef"
GIVEN = {
    "repository": "https://example.org/ana/cloud.git", "branch": "main", "path": "", "listen": "0.0.0.0:6767",
    "names": (),
    "web": "127.0.0.1:6780", "poll": "", "forge_url": "", "git_user": "", "ssh_key": None, "signers": None,
    "trusted_proxies": 0,
}  # fmt: skip


def test_secrets_come_from_the_environment_or_files(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"{LONG}new\n{LONG}old\n\n")
    environ = {"A67_WEBHOOK_SECRET_GITHUB_FILE": str(file), "A67_WEBHOOK_SECRET": LONG}
    found = secrets_from(environ)
    assert found["github"] == (LONG, f"{LONG}new", f"{LONG}old")
    assert found["gitlab"] == (LONG,)
    assert secrets_from({}) == {}
    assert token_from({"A67_FORGE_TOKEN_FILE": str(file)}) == f"{LONG}new"


def test_short_secrets_and_missing_files_are_refused() -> None:
    with pytest.raises(OptionError, match="at least 16 characters"):
        secrets_from({"A67_WEBHOOK_SECRET": "short"})
    with pytest.raises(OptionError, match="cannot be read"):
        token_from({"A67_FORGE_TOKEN_FILE": "/nowhere/token"})


def test_a_local_repository_is_looked_at_every_second(tmp_path: Path) -> None:
    assert [is_local(r) for r in ("/srv/x.git", "file:///srv/x.git", "https://x/y", "git@x:y")] == [
        True,
        True,
        False,
        False,
    ]
    assert options_of(state=tmp_path, **GIVEN).poll == 60.0
    assert options_of(state=tmp_path, **(GIVEN | {"repository": "/srv/x.git"})).poll == 1.0
    with pytest.raises(click.ClickException, match="not a duration"):
        options_of(state=tmp_path, **(GIVEN | {"poll": "soon"}))
    with pytest.raises(click.ClickException, match="five times a second"):
        options_of(state=tmp_path, **(GIVEN | {"poll": "10ms"}))


def test_arguments_for_children_hold_no_secret(tmp_path: Path) -> None:
    options = Options(tmp_path, "https://example.org/x.git", forge_token=LONG, webhook_secrets={"github": (LONG,)})
    assert LONG not in " ".join(argv_of(options))
    write_web_config(options)
    assert LONG in (tmp_path / "web.json").read_text()
    assert (tmp_path / "web.json").stat().st_mode & 0o777 == 0o600


def test_the_engines_clock_does_not_jump_with_the_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    before = steady_now()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert 0 <= steady_now() - before < 5
