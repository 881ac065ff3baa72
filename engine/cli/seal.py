"""``automator67 seal NAME``: encrypts a value so that only the engine can read it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from automator67.engine.cli.checkout import cloud_name, need_name, repo_option, write_file


@click.command("seal", short_help="Encrypt a secret value for the repository.")
@click.argument("name")
@repo_option
@click.option("--dry-run", is_flag=True, help="Check everything, and write nothing.")
def command(name: str, repo: Path, dry_run: bool) -> None:
    """Seal a value as secret NAME: ask for it without showing it, or read it from standard input.

    Writes secrets/NAME.sealed, to be committed. Only the public key secrets/engine.pub is needed. The newline that
    ends a single line is not part of the value.
    """
    from automator67.engine.secrets.errors import SecretError
    from automator67.engine.secrets.keys import read_public_key
    from automator67.engine.secrets.sealing import MAX_VALUE_BYTES, seal
    from automator67.schemas.sealed import PUBLIC_KEY_FILE

    need_name(name, "a secret")
    cloud = cloud_name(repo)
    try:
        key = read_public_key(repo / PUBLIC_KEY_FILE)
        text = seal(key, cloud, name, _value(name, MAX_VALUE_BYTES))
    except SecretError as error:
        raise click.ClickException(str(error)) from error
    file = f"secrets/{name}.sealed"
    known = (repo / file).exists()
    if dry_run:
        click.echo(f"would {'replace' if known else 'write'} {repo / file}, sealed to the key {key.id}")
        return
    path = write_file(repo, file, text)
    click.echo(f"sealed {name} of cloud {cloud} to the key {key.id}: commit {path}")
    if not known:
        click.echo(f"use it in an app:  env: {{SOME_NAME: {{secret: {name}}}}}")


def _value(name: str, limit: int) -> bytes:
    if sys.stdin.isatty():
        text: str = click.prompt(f"value of {name}", hide_input=True, confirmation_prompt=True)
        return text.encode()
    value = sys.stdin.buffer.read(limit + 2)
    return value.rstrip(b"\r\n") if value.count(b"\n") == 1 and value.endswith(b"\n") else value
