"""``automator67 secrets list``: every secret of a repository, who uses it, and whether it opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from automator67.engine.cli.checkout import documents, places_of, repo_option, vault_of
from automator67.engine.cli.common import json_option, print_json, state_option, table
from automator67.schemas.document import Document


@dataclass(frozen=True, slots=True)
class Listed:
    """A secret as it is listed. ``opens`` is ``yes``, a reason why not, or empty where no key is at hand."""

    name: str
    file: str
    kind: str
    key: str
    used_by: list[str]
    opens: str


@click.group("secrets", short_help="List the secrets of a repository.")
def command() -> None:
    """Look at the secrets of a repository. Values are never shown."""


@command.command("list")
@repo_option
@state_option
@json_option
def list_secrets(repo: Path, state: Path, as_json: bool) -> None:
    """List every secret: its file, the key it is sealed to, what uses it, and, where the key is, whether it opens.

    Exit code 0: all is well; 1: a secret does not open, or is used and not there.
    """
    found = listed(repo, state)
    if as_json:
        print_json([asdict(s) for s in found])
    elif not found:
        click.echo("there is no secret in this repository; make one: automator67 seal NAME")
    else:
        rows = [(s.name, s.kind, s.key[:12], ", ".join(s.used_by) or "nothing", s.opens or "no key here")
                for s in found]  # fmt: skip
        click.echo(table(("NAME", "KIND", "KEY", "USED BY", "OPENS"), rows))
    raise click.exceptions.Exit(1 if any(s.opens not in ("yes", "") for s in found) else 0)


def listed(repo: Path, state: Path) -> list[Listed]:
    """Return every secret that is written or used in ``repo``, by name. Raises click.ClickException."""
    from automator67.engine.secrets.errors import SecretError
    from automator67.schemas.sealed import sealed_key

    files = documents(repo)
    vault, places = vault_of(repo, files, state), places_of(files)
    users = _users({path: document for path, (document, _) in files.items()})
    found = []
    for name in sorted({*places, *users}):
        path = places[name].path if name in places else ""
        opens = ""
        if not path:
            opens = f"there is no such secret; make it: automator67 seal {name}"
        elif vault.opens:
            try:
                opens = "yes" if vault.value(name) is not None else ""
            except SecretError as error:
                opens = str(error)
        kind = "sealed" if path.endswith(".sealed") else "sops" if path else "missing"
        key = (sealed_key(files[path][1]) or "?") if kind == "sealed" else "age" if kind == "sops" else ""
        found.append(Listed(name, path, kind, key, users.get(name, []), opens))
    return found


def _users(files: Mapping[str, Document]) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    for path, document in files.items():
        for place in document.secrets:
            value: Any = document.value
            for part in place:
                value = value[part]
            what = path if document.kind == "cloud" else f"{document.kind}/{document.name}"
            if what not in users.setdefault(str(value), []):
                users[str(value)].append(what)
    return users
