"""``automator67 init``: makes a config repository, and has its forge tell the engine of pushes."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from automator67.engine.cli.checkout import need_name
from automator67.engine.cli.common import state_option
from automator67.schemas.kinds import SETTINGS

if TYPE_CHECKING:
    from automator67.engine.forges.remote import Forge
    from automator67.engine.starting import Answers

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
    from automator67.engine.starting import Answers

    if not quiet and sys.stdin.isatty():
        name = click.prompt("name of the cloud", default=name)
        said = click.prompt("machines, the first takes the traffic", default=" ".join(nodes) or "one")
        nodes = tuple(re.split(r"[\s,]+", said.strip()))
        domain = click.prompt("where the first app answers", default=domain)
        remote = click.prompt("URL of the repository at the forge", default=remote, show_default=bool(remote))
    answers = Answers(name, nodes or ("one",), domain.lower(), email)
    files = _files(answers)
    forge = _forge(remote, forge_url) if webhook else None
    new = {path: text for path, text in files.items() if not os.path.lexists(folder / path)}
    if (folder / SETTINGS).exists():
        # Somebody's cloud already: an app and a machine that nobody asked for do not go into it.
        new = {path: text for path, text in new.items() if path.startswith(".vscode/")}
    if dry_run:
        for path in sorted(new):
            click.echo(f"would write {folder / path}")
        if forge is not None:
            click.echo(f"would register {_hook_url(webhook, forge)} at {remote}")
        return
    _write(folder, new)
    committed = _commit(folder, list(new), remote)
    click.echo(f"wrote {len(new)} files" + (", and committed them" if committed else "") + f" in {folder.resolve()}")
    if forge is not None:
        _register(forge, webhook, state)
    _next(folder, answers, remote, committed)


def _files(answers: Answers) -> dict[str, str]:
    """Return the files of a new repository. Raises click.ClickException for answers that make none that is valid."""
    from automator67.engine.starting import first_files
    from automator67.schemas.repository import check_files

    for what, word in (("the cloud", answers.name), *(("a machine", node) for node in answers.nodes)):
        need_name(word, what)
    if len(set(answers.nodes)) < len(answers.nodes):
        raise click.ClickException("two machines have the same name")
    files = first_files(answers)
    read = {path: text.encode() for path, text in files.items() if path.endswith(".yaml")}
    if problems := [p for p in check_files(read).problems if p.severity == "error"]:
        raise click.ClickException(str(problems[0]))
    return files


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


def _hook_url(webhook: str, forge: Forge) -> str:
    return f"{webhook.rstrip('/')}/hooks/{forge.kind}"


def _register(forge: Forge, webhook: str, state: Path) -> None:
    from automator67.engine.apis.client import ApiError
    from automator67.engine.durable import once
    from automator67.engine.forges.hooks import register
    from automator67.engine.options import OptionError, token_from

    try:
        token = token_from(os.environ)
        if not token:
            raise click.ClickException("the webhook needs a token: A67_FORGE_TOKEN or A67_FORGE_TOKEN_FILE")
        file = state / _SECRET_FILE
        secret = once(file, secrets.token_hex(32).encode() + b"\n").decode().strip()
        made = register(forge, token, _hook_url(webhook, forge), secret)
    except (OptionError, ApiError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be written: {error.strerror}") from error
    click.echo(f"the webhook {_hook_url(webhook, forge)} is {'registered' if made else 'up to date'}")
    click.echo(f"start the engine with A67_WEBHOOK_SECRET_FILE={file}")


def _next(folder: Path, answers: Answers, remote: str, committed: bool) -> None:
    commit = "" if committed else "git add . && git commit, then "
    click.echo("next:")
    click.echo(f"    cd {folder} && {commit}git push -u origin main" + ("" if remote else "    # to where you keep it"))
    click.echo(f"    automator67 up --repo {remote or 'URL'}    # on the machine that is to watch over it")
    for node in answers.nodes:
        click.echo(f"    automator67 node token {node}    # there; it prints the command by which {node} joins")
