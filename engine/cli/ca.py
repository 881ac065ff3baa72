"""``automator67 ca``: the certificate to trust for names that no public authority vouches for."""

from __future__ import annotations

from pathlib import Path

import click

from automator67.engine.cli.common import state_option


@click.command("ca", short_help="Print the CA that signs local names, to be trusted.")
@state_option
def command(state: Path) -> None:
    """Print the certificate (PEM) of the CA that signs names such as *.localhost and apps with tls: internal.

    Machines that trust it accept these names without a warning: on Debian, write it to
    /usr/local/share/ca-certificates/automator67.crt and run update-ca-certificates.
    """
    try:
        click.echo((state / "edge-ca" / "ca.pem").read_text(encoding="utf-8"), nl=False)
    except OSError as error:
        raise click.ClickException(f"there is no engine's state in {state} yet: {error.strerror}") from error
