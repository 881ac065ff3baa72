"""``automator67 sql``: the SQL router of one logical database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from automator67.engine.cli.checkout import documents, repo_option, vault_of
from automator67.engine.cli.common import state_option


@click.command("sql", short_help="Serve several PostgreSQL databases as one.")
@click.argument("name")
@repo_option
@state_option
@click.option("--listen", default="127.0.0.1:6543", show_default=True, envvar="A67_SQL", help="HOST:PORT.")
@click.option("--certificate", type=click.Path(path_type=Path, exists=True), help="TLS certificate (PEM).")
@click.option("--key", type=click.Path(path_type=Path, exists=True), help="Its private key (PEM).")
def command(name: str, repo: Path, state: Path, listen: str, certificate: Path | None, key: Path | None) -> None:
    """Serve shards/NAME.yaml over PostgreSQL's protocol.

    Clients log in to database NAME as the user, and with the password, of the default shard's url. Without a
    certificate only this machine can connect.
    """
    document = _document(repo, name)
    urls = _urls(repo, state, document)
    try:
        from automator67.engine.shards.process import RouterError, serve
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"the SQL router needs the package {error.name}: pip install 'automator67[sql]'"
        ) from error
    try:
        serve(name, document, urls, state / "sql", listen, certificate, key)
    except RouterError as error:
        raise click.ClickException(str(error)) from error


def _document(repo: Path, name: str) -> dict[str, Any]:
    from automator67.schemas.near import near_hint

    found = {document.name: document for document, _ in documents(repo).values() if document.kind == "shard"}
    if name not in found:
        raise click.ClickException(f"there is no {repo / 'shards' / name}.yaml{near_hint(name, found)}")
    value = found[name].value
    if value is None:
        raise click.ClickException(str(found[name].problems[0]))
    return dict(value)


def _urls(repo: Path, state: Path, document: dict[str, Any]) -> dict[str, str]:
    """Return the secrets that hold urls, opened with the engine's keys, by their names."""
    from automator67.engine.secrets.errors import SecretError

    vault = vault_of(repo, documents(repo), state)
    names = [s["url"]["secret"] for s in document["shards"] if isinstance(s.get("url"), dict)]
    try:
        return {name: vault.text(name) for name in names}
    except SecretError as error:
        raise click.ClickException(f"{error} (state directory {state})") from error
