"""``automator67 keys``: the engine's keys for secrets, and the public one for the repository."""

from __future__ import annotations

from pathlib import Path

import click

from automator67.engine.cli.checkout import cloud_name, write_file
from automator67.engine.cli.common import json_option, print_json, reading, state_option


@click.group("keys", short_help="The engine's keys for secrets.")
def command() -> None:
    """Make, show and export the keys that secrets are sealed to."""


@command.command("init")
@state_option
def init(state: Path) -> None:
    """Make the engine's key, if there is none yet. The engine does so too, when it starts."""
    from automator67.engine.secrets.errors import SecretError
    from automator67.engine.secrets.keys import Keyring

    try:
        key = Keyring(state / "secrets").ensure()
    except SecretError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"the engine's key is {key.public.id}, in {state / 'secrets'}: keep a backup of that folder")
    click.echo("put its public half into the repository:  automator67 keys export --repo DIR")


@command.command("show")
@state_option
@json_option
def show(state: Path, as_json: bool) -> None:
    """List the engine's keys. Values are sealed to the present one; the others open what was sealed before."""
    from automator67.engine.secrets.errors import SecretError
    from automator67.engine.secrets.keys import Keyring

    try:
        ids = Keyring(state / "secrets").ids()
    except SecretError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json({"directory": str(state / "secrets"), "keys": [{"id": i, "present": i == ids[-1]} for i in ids]})
        return
    if not ids:
        raise click.ClickException(f"there is no key in {state / 'secrets'}; make one: automator67 keys init")
    for key in reversed(ids):
        click.echo(f"{key}  {'present' if key == ids[-1] else 'still opens what was sealed to it'}")


@command.command("export")
@click.option("--repo", type=click.Path(path_type=Path, file_okay=False),
              help="Write secrets/engine.pub in this folder, instead of printing the key.")  # fmt: skip
@state_option
def export(repo: Path | None, state: Path) -> None:
    """Print the public key, or put it into a copy of the repository. It is no secret."""
    from automator67.engine.secrets.errors import SecretError
    from automator67.engine.secrets.keys import Keyring
    from automator67.schemas.sealed import PUBLIC_KEY_FILE

    try:
        key = Keyring(state / "secrets").present()
    except SecretError as error:
        raise click.ClickException(str(error)) from error
    if key is None:
        raise click.ClickException(f"there is no key in {state / 'secrets'}; make one: automator67 keys init")
    if repo is None:
        click.echo(key.public.text(), nl=False)
        return
    cloud = cloud_name(repo)
    path = write_file(repo, PUBLIC_KEY_FILE, key.public.text())
    click.echo(f"wrote the key {key.public.id} of cloud {cloud}: commit {path}")


@command.command("drop")
@click.option("--repo", type=click.Path(path_type=Path, file_okay=False), default=Path(),
              help="Your copy of the repository; default: this directory.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say which keys would go.")
@state_option
def drop(repo: Path, dry_run: bool, state: Path) -> None:
    """Remove keys that nothing needs any more: no sealed file in the repository, and no revision the engine keeps."""
    from automator67.engine.cli.checkout import documents
    from automator67.engine.secrets.errors import SecretError
    from automator67.engine.secrets.keys import Keyring
    from automator67.schemas.sealed import sealed_key

    keyring = Keyring(state / "secrets")
    cloud_name(repo)
    needed = {sealed_key(data) for path, (_, data) in documents(repo).items() if path.endswith(".sealed")}
    needed |= _kept(state)
    try:
        *old, _ = keyring.ids() or [""]
        for key in old:
            if key in needed:
                click.echo(f"{key}  stays: values that are still used are sealed to it")
            elif dry_run:
                click.echo(f"{key}  would be removed")
            else:
                keyring.drop(key)
                click.echo(f"{key}  removed")
    except SecretError as error:
        raise click.ClickException(str(error)) from error
    if not old:
        click.echo("there is only the present key")


def _kept(state: Path) -> set[str]:
    """Return the keys that revisions need to which the engine may go back."""
    from automator67.engine.remote_errors import RemoteError
    from automator67.engine.repo.local import LocalRepository
    from automator67.engine.repo.tree import read_blob
    from automator67.engine.store.intents import load_intents
    from automator67.schemas.sealed import sealed_key

    with reading(state).read() as tx:
        intents = load_intents(tx)
    uses = [use for revision in intents.specs.values() for use in revision.spec.get("secrets", ())]
    try:
        mirror = LocalRepository(state / "repository")
        return {sealed_key(read_blob(mirror, use["blob"])) for use in uses if use["path"].endswith(".sealed")}
    except RemoteError as error:
        raise click.ClickException(f"what the engine keeps cannot be read: {error}") from error
