"""``automator67 keys``: the engine's keys for secrets, and the public one for the repository."""

from __future__ import annotations

from pathlib import Path

import click

from automator67.engine.cli.checkout import cloud_name, write_file
from automator67.engine.cli.common import json_option, print_json, state_option


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
