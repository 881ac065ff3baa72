"""``automator67 s3``: the buckets for every client of S3."""

from __future__ import annotations

from pathlib import Path

import click

from automator67.engine.cli.checkout import repo_option
from automator67.engine.cli.common import state_option
from automator67.engine.cli.storage import declared


@click.command("s3", short_help="Serve the buckets to clients of S3.")
@repo_option
@state_option
@click.option("--listen", default="127.0.0.1:9067", show_default=True, envvar="A67_S3", help="HOST:PORT.")
@click.option("--domain", default="", help="Take BUCKET.DOMAIN as a host's name too; needs DNS that leads here.")
@click.option("--certificate", type=click.Path(path_type=Path, exists=True), help="TLS certificate (PEM).")
@click.option("--key", type=click.Path(path_type=Path, exists=True), help="Its private key (PEM).")
def command(
    repo: Path, state: Path, listen: str, domain: str, certificate: Path | None, key: Path | None
) -> None:  # fmt: skip
    """Serve every bucket that has an access key.

    Without a certificate only this machine can connect.
    """
    from automator67.engine.s3.process import EndpointError, serve

    found = declared(repo, state)
    try:
        serve(found.rules, found.nodes, found.secret, state, listen, certificate, key, domain.lower())
    except EndpointError as error:
        raise click.ClickException(str(error)) from error
