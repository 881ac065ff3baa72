"""``automator67 init``: makes a config repository, and has its forge tell the engine of pushes."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from automator67.engine.cli.common import state_option
from automator67.schemas.kinds import SETTINGS

if TYPE_CHECKING:
    from automator67.engine.forges.remote import Forge
    from automator67.engine.starting import Answers

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")
_SECRET_FILE = "webhook-secret"  # noqa: S105


@click.command("init", short_help="Make a config repository.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--name", default="home", show_default=True, help="The cloud's name.")
@click.option("--node", "nodes", multiple=True, help="A machine; the first takes the traffic. Default: one.")
@click.option("--domain", default="hello.localhost", show_default=True, help="Where the first app answers.")
@click.option("--email", default="", help="Who is told of certificates that will expire (ACME).")
@click.option("--remote", default="", help="URL of the repository at the forge.")
@click.option("--webhook", default="", metavar="URL", help="The public address of the engine's page: the forge is "
              "told to send pushes there. Needs --remote and A67_FORGE_TOKEN.")  # fmt: skip
@click.option("--forge-url", default="", envvar="A67_FORGE_URL", help="API of a forge of your own.")
@click.option("--yes", "quiet", is_flag=True, help="Ask nothing.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@state_option
def command(
    folder: Path, name: str, nodes: tuple[str, ...], domain: str, email: str, remote: str, webhook: str,
    forge_url: str, quiet: bool, dry_run: bool, state: Path,
) -> None:  # fmt: skip
    """Write a working config repository into FOLDER and commit it. Files that are there are never changed.

    With --webhook the forge is told where pushes go, and the secret that they are signed with is kept in the state
    directory. Doing it again changes nothing that is right already. Exit code 0: done, 255: not.
    """
    from automator67.engine.starting import Answers, first_files

    if not quiet and sys.stdin.isatty():
        name = click.prompt("name of the cloud", default=name)
        said = click.prompt("machines, the first takes the traffic", default=" ".join(nodes) or "one")
        nodes = tuple(re.split(r"[\s,]+", said.strip()))
        domain = click.prompt("where the first app answers", default=domain)
        remote = click.prompt("URL of the repository at the forge", default=remote, show_default=bool(remote))
    answers = _checked(Answers(name, nodes or ("one",), domain.lower(), email))
    forge = _forge(remote, forge_url) if webhook else None
    files = first_files(answers)
    new = {path: text for path, text in files.items() if not os.path.lexists(folder / path)}
    if (folder / SETTINGS).exists():
        # Somebody's cloud already: an app and a machine that nobody asked for do not go into it.
        new = {path: text for path, text in new.items() if path.startswith(".vscode/")}
    if dry_run:
        for path in sorted(new):
            click.echo(f"would write {folder / path}")
        if webhook:
            click.echo(f"would register {_hook_url(webhook, forge)} at {remote}")
        return
    _write(folder, new)
    committed = _commit(folder, list(new), remote)
    click.echo(f"wrote {len(new)} files" + (", and committed them" if committed else "") + f" in {folder.resolve()}")
    if forge is not None:
        _register(forge, webhook, state)
    _next(folder, answers, remote, committed)


def _checked(answers: Answers) -> Answers:
    from automator67.engine.starting import first_files
    from automator67.schemas.repository import check_files

    for what, word in (("the cloud", answers.name), *(("a machine", node) for node in answers.nodes)):
        if not _NAME.match(word):
            hint = "use lower-case letters, digits and inner hyphens, at most 40"
            raise click.ClickException(f"{word[:60]!r} cannot be the name of {what}; {hint}")
    if len(set(answers.nodes)) < len(answers.nodes):
        raise click.ClickException("two machines have the same name")
    files = {p: t.encode() for p, t in first_files(answers).items() if p.endswith(".yaml")}
    if problems := [p for p in check_files(files).problems if p.severity == "error"]:
        raise click.ClickException(str(problems[0]))
    return answers


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        for path, text in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be written: {error.strerror}") from error


def _commit(folder: Path, paths: list[str], remote: str) -> bool:
    """Commit the files where there was no repository, or none with a commit; return whether that was done."""
    import pygit2

    found = pygit2.discover_repository(str(folder))
    repo = pygit2.Repository(found) if found else pygit2.init_repository(str(folder), initial_head="main")
    if remote and "origin" not in repo.remotes.names():
        repo.remotes.create("origin", remote)
    if not repo.head_is_unborn or not paths:
        return False
    try:
        author = repo.default_signature
    except KeyError:
        click.echo("git does not know who you are (git config user.name, user.email): commit the files yourself")
        return False
    for path in paths:
        repo.index.add(path)
    repo.index.write()
    repo.create_commit("HEAD", author, author, "A personal cloud\n", repo.index.write_tree(), [])
    return True


def _forge(remote: str, api: str) -> Forge:
    from automator67.engine.forges.remote import forge_of

    forge = forge_of(remote, api)
    if forge is None:
        raise click.ClickException(
            "a webhook can be registered at GitHub, Gitea, Forgejo and GitLab: say --remote URL, and --forge-url for a "
            "server of your own"
        )
    return forge


def _hook_url(webhook: str, forge: Forge | None) -> str:
    return f"{webhook.rstrip('/')}/hooks/{forge.kind if forge else 'generic'}"


def _register(forge: Forge, webhook: str, state: Path) -> None:
    from automator67.engine.apis.client import ApiError
    from automator67.engine.forges.hooks import register
    from automator67.engine.options import OptionError, token_from

    try:
        token = token_from(os.environ)
        if not token:
            raise click.ClickException("the webhook needs a token: A67_FORGE_TOKEN or A67_FORGE_TOKEN_FILE")
        file = state / _SECRET_FILE
        made = register(forge, token, _hook_url(webhook, forge), _secret(file))
    except (OptionError, ApiError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be written: {error.strerror}") from error
    click.echo(f"the webhook {_hook_url(webhook, forge)} is {'registered' if made else 'up to date'}")
    click.echo(f"start the engine with A67_WEBHOOK_SECRET_FILE={file}")


def _secret(file: Path) -> str:
    """Return the secret in a file; the first call makes it."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return file.read_text().strip()
    with os.fdopen(handle, "w") as out:
        out.write(secrets.token_hex(32) + "\n")
    return file.read_text().strip()


def _next(folder: Path, answers: Answers, remote: str, committed: bool) -> None:
    commit = "" if committed else "git add . && git commit, then "
    click.echo("next:")
    click.echo(f"    cd {folder} && {commit}git push -u origin main" + ("" if remote else "    # to where you keep it"))
    click.echo(f"    automator67 up --repo {remote or 'URL'}    # on the machine that is to watch over it")
    for node in answers.nodes:
        click.echo(f"    automator67 node token {node}    # there; it prints the command by which {node} joins")
