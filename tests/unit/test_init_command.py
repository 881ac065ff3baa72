"""``automator67 init``: a valid repository with a commit, and a webhook that is registered once."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pygit2
import pytest
import yaml
from click.testing import CliRunner, Result

from automator67.engine.apis.client import ApiError
from automator67.engine.cli.main import root
from automator67.engine.forges.hooks import register
from automator67.engine.forges.remote import Forge
from automator67.schemas.repository import check_directory
from tests.support.hook_apis import API, KINDS, PATH, Hooks
from tests.support.standin import Reached, Refused, served


@pytest.fixture(autouse=True)
def somebody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be somebody to git, with a home of one's own."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text("[user]\nname = Ana\nemail = ana@example.org\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    level, paths = pygit2.enums.ConfigLevel.GLOBAL, pygit2.settings.search_path
    before = paths[level]
    paths[level] = str(tmp_path / "home")
    yield
    paths[level] = before


def run(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(root, ["init", str(folder), "--yes", "--state", str(folder.parent / "state"), *more])


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_it_makes_a_valid_repository_with_one_commit(tmp_path: Path) -> None:
    new = tmp_path / "cloud"
    done = run(new, "--name", "lab", "--node", "hel1", "--node", "fsn1", "--domain", "Hello.Example.org",
               "--email", "ana@example.org", "--remote", "https://codeberg.org/ana/cloud.git")  # fmt: skip
    assert done.exit_code == 0, done.output
    report = check_directory(new)
    assert [str(p) for p in report.problems] == []
    assert report.files == 4
    assert yaml.safe_load((new / "nodes" / "hel1.yaml").read_text()) == {
        "kind": "agent", "gateway": {"acme_email": "ana@example.org"},
    }  # fmt: skip
    assert yaml.safe_load((new / "nodes" / "fsn1.yaml").read_text()) == {"kind": "agent"}
    assert yaml.safe_load((new / "apps" / "hello.yaml").read_text())["domain"] == "hello.example.org"
    assert git(new, "status", "--short") == ""
    assert git(new, "log", "--format=%an %s") == "Ana A personal cloud"
    assert git(new, "remote", "get-url", "origin") == "https://codeberg.org/ana/cloud.git"
    assert git(new, "branch", "--show-current") == "main"
    for word in ("git push -u origin main", "automator67 up --repo https://codeberg.org", "node token hel1"):
        assert word in done.output
    again = run(new, "--name", "lab", "--node", "other")
    assert "wrote 0 files" in again.output
    assert not (new / "nodes" / "other.yaml").exists()


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine\n")
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "README.md")
    git(tmp_path, "commit", "-qm", "Mine")
    done = run(tmp_path)
    assert done.exit_code == 0
    assert (tmp_path / "README.md").read_text() == "mine\n"
    assert (tmp_path / "automator67.yaml").exists()
    assert git(tmp_path, "log", "--format=%s") == "Mine", "what is in a repository of somebody is his to commit"
    assert "git add . && git commit" in done.output


def test_a_dry_run_does_nothing(tmp_path: Path) -> None:
    done = run(
        tmp_path / "cloud", "--dry-run", "--remote", "https://gitlab.com/ana/cloud", "--webhook", "https://c.example"
    )
    assert done.exit_code == 0
    assert "would write" in done.output
    assert "would register https://c.example/hooks/gitlab" in done.output
    assert not (tmp_path / "cloud").exists()
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--name", "My Cloud"], "cannot be the name of the cloud"),
        (["--node", "../x"], "cannot be the name of a machine"),
        (["--node", "a", "--node", "a"], "same name"), (["--domain", "not a name"], "domain"),
        (["--webhook", "https://c.example"], "say --remote URL"),
        (["--webhook", "https://c.example", "--remote", "https://git.lan/a/b"], "--forge-url for a server of your own"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_written(tmp_path: Path, arguments: list[str], word: str) -> None:
    done = run(tmp_path / "cloud", *arguments)
    assert done.exit_code != 0
    assert word in done.output
    assert not (tmp_path / "cloud").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_webhook_is_registered_once(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A67_FORGE_TOKEN", "tok")
    hub = Hooks(kind)
    with served(hub.api) as api:
        words = [
            "--remote",
            f"{api}/{PATH[kind]}",
            "--forge-url",
            f"{api}{API[kind]}",
            "--webhook",
            "https://c.example/",
        ]
        done = run(tmp_path / "cloud", *words)
        assert done.exit_code == 0, done.output
        again = run(tmp_path / "cloud", *words)
        assert again.exit_code == 0, again.output
    assert hub.api.broken == []
    (kept,) = hub.hooks.values()
    secret = (tmp_path / "state" / "webhook-secret").read_text().strip()
    assert stat.S_IMODE((tmp_path / "state" / "webhook-secret").stat().st_mode) == 0o600
    assert secret not in done.output + again.output
    shown = "gitea" if kind == "forgejo" else kind
    if kind == "gitlab":
        assert (kept["url"], kept["token"]) == ("https://c.example/hooks/gitlab", secret)
        assert all(kept[k] for k in ("push_events", "merge_requests_events", "enable_ssl_verification"))
    else:
        assert kept["config"] == {"url": f"https://c.example/hooks/{shown}", "content_type": "json", "secret": secret}
        assert kept["events"] == ["push", "pull_request"]
    assert "is registered" in done.output
    assert "is up to date" in again.output
    assert f"A67_WEBHOOK_SECRET_FILE={tmp_path / 'state' / 'webhook-secret'}" in done.output


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_among_many_is_found_and_a_refusal_says_what_the_token_lacks(kind: str) -> None:
    hub = Hooks(kind)
    forge = Forge("gitea" if kind == "forgejo" else kind, f"https://x.example{API[kind]}", PATH[kind])  # type: ignore[arg-type]
    assert register(forge, "tok", "https://c.example/0", "s", transport=Reached(hub.api)) is True
    for n in range(1, 120):
        other = dict(hub.hooks[1])
        url = f"https://c.example/{n}"
        hub.hooks[n + 1] = other | ({"url": url} if kind == "gitlab" else {"config": other["config"] | {"url": url}})
    assert register(forge, "tok", "https://c.example/119", "new", transport=Reached(hub.api)) is False
    assert len(hub.hooks) == 120
    assert "new" in str(hub.hooks[120])

    def refuse(_: object) -> None:
        raise Refused(404 if kind == "github" else 403)

    hub.api.fault = refuse
    with pytest.raises(ApiError, match="may not manage webhooks: it needs"):
        register(forge, "tok", "https://c.example/9", "s", transport=Reached(hub.api))
    assert hub.api.broken == []


def test_a_webhook_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A67_FORGE_TOKEN", raising=False)
    done = run(tmp_path / "cloud", "--remote", "https://gitlab.com/ana/cloud", "--webhook", "https://c.example")
    assert done.exit_code != 0
    assert "A67_FORGE_TOKEN" in done.output
