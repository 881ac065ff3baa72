"""``automator67 import compose``: what runs elsewhere becomes apps of the repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from automator67.engine.cli.checkout import cloud_name, repo_option, write_file
from automator67.engine.cli.common import print_json
from automator67.schemas.kinds import SETTINGS

if TYPE_CHECKING:
    from automator67.engine.compose.carrying import Carried
    from automator67.engine.compose.making import Secret
    from automator67.engine.compose.project import Note

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
MAX_BYTES = 2**20


@click.group("import", short_help="Bring what runs elsewhere.")
def command() -> None:
    """Turn what describes your services elsewhere into files of the repository."""


@command.command("compose", short_help="A Compose project becomes apps.")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@repo_option
@click.option("--env-file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Values of the file's variables. Default: .env beside it.")  # fmt: skip
@click.option("--git", default="", help="URL of the repository with what is built (build:).")
@click.option("--profile", "profiles", multiple=True, help="Carry services of this profile over, too.")
@click.option("--only", multiple=True, metavar="SERVICE", help="Only these services.")
@click.option("--dry-run", is_flag=True, help="Print the files, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="For programs; values of secrets are left out.")
def compose(
    file: Path, repo: Path, env_file: Path | None, git: str, profiles: tuple[str, ...], only: tuple[str, ...],
    dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write apps/NAME.yaml for every service of a Compose FILE (or of the one in a folder).

    What looks like a password is sealed when the repository has the engine's public key, else it is listed. Whatever
    cannot be carried over is listed with its line. Files that are there already are never changed. Exit code 0: files
    were written (or would be); 1: nothing can be carried over; 255: the file cannot be used.
    """
    from automator67.engine.compose.carrying import carried
    from automator67.engine.compose.project import read_project
    from automator67.engine.compose.variables import read_env

    file = _compose_file(file)
    chosen = env_file or file.parent / ".env"
    # As Compose does: the environment counts more than the file.
    values = (read_env(_text(chosen)) if chosen.is_file() else {}) | os.environ
    project = read_project(file.name, _bytes(file), values, profiles)
    if project.problems:
        raise click.ClickException("\n".join(map(str, project.problems)))
    if unknown := [name for name in only if name not in project.services]:
        from automator67.schemas.near import near_hint

        raise click.ClickException(f"there is no service {unknown[0]}{near_hint(unknown[0], project.services)}")
    root = file.parent.resolve()
    found = carried(project, lambda path: _beside(root, path), git=git, only=only)
    if not dry_run and found.files:
        _refuse_replacing(repo, found)
    sealed = {} if dry_run else _written(repo, found)
    if as_json:
        print_json(_data(found, file.name, sealed))
    else:
        _tell(found, file.name, sealed, dry_run)
    raise click.exceptions.Exit(0 if found.files else 1)


def _compose_file(path: Path) -> Path:
    if path.is_file():
        return path
    for name in NAMES:
        if (path / name).is_file():
            return path / name
    raise click.ClickException(f"there is no {NAMES[0]} in {path}; name the file")


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as source:
            return source.read(MAX_BYTES + 1)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from error


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", "replace")


def _beside(root: Path, path: str) -> str | None:
    """Return the text of a file below the Compose file's folder: what is elsewhere is none of its business."""
    try:
        place = (root / path).resolve()
        if not place.is_relative_to(root) or not place.is_file() or place.stat().st_size > MAX_BYTES:
            return None
    except (OSError, ValueError):
        return None
    return _text(place)


def _refuse_replacing(repo: Path, found: Carried) -> None:
    if not (repo / SETTINGS).is_file():
        raise click.ClickException(f"{repo / SETTINGS} is not there: say with --repo where your config repository is")
    if there := [path for path in found.files if (repo / path).exists()]:
        raise click.ClickException(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already and would be replaced: "
            "remove them first, or name the other services with --only"
        )


def _written(repo: Path, found: Carried) -> dict[str, bool]:
    """Write everything; return of each secret whether it was sealed."""
    done = {secret.name: _sealed(repo, secret) for secret in found.secrets}
    for path, text in found.files.items():
        write_file(repo, path, text)
    return done


def _sealed(repo: Path, secret: Secret) -> bool:
    from automator67.engine.secrets.errors import SecretError
    from automator67.engine.secrets.keys import read_public_key
    from automator67.engine.secrets.sealing import seal
    from automator67.schemas.sealed import PUBLIC_KEY_FILE

    path = f"secrets/{secret.name}.sealed"
    if not (repo / PUBLIC_KEY_FILE).is_file() or (repo / path).exists():
        return (repo / path).exists()
    try:
        write_file(repo, path, seal(read_public_key(repo / PUBLIC_KEY_FILE), cloud_name(repo), secret.name,
                                    secret.value.encode()))  # fmt: skip
    except SecretError as error:
        raise click.ClickException(str(error)) from error
    return True


def _data(found: Carried, file: str, sealed: dict[str, bool]) -> dict[str, object]:
    return {
        "files": found.files,
        "secrets": [{"name": s.name, "line": s.line, "sealed": sealed.get(s.name, False)} for s in found.secrets],
        "notes": [{"service": n.service, "file": file, "line": n.line, "text": n.text} for n in found.notes],
    }


def _tell(found: Carried, file: str, sealed: dict[str, bool], dry_run: bool) -> None:
    for path, text in found.files.items():
        click.echo(f"{'would write' if dry_run else 'wrote'} {path}")
        if dry_run:
            click.echo("".join(f"    {line}\n" for line in text.splitlines()))
    todo = [s for s in found.secrets if not sealed.get(s.name)]
    if done := [s.name for s in found.secrets if sealed.get(s.name)]:
        click.echo(f"sealed {', '.join(done)}")
    if todo:
        click.echo("to be sealed before you push:")
        for secret in todo:
            click.echo(f"    automator67 seal {secret.name}    # its value is in {file}, line {secret.line}")
    if found.notes:
        click.echo("look at these:")
        by_text: dict[str, list[Note]] = {}
        for note in found.notes:
            by_text.setdefault(note.text, []).append(note)
        for text, of in by_text.items():
            place = f"{file}:{of[0].line}: " if of[0].line else ""
            services = ", ".join(dict.fromkeys(note.service for note in of if note.service))
            click.echo(f"    {place}{services}{': ' if services else ''}{text}")
    if found.files and not dry_run:
        click.echo("next: automator67 validate, then commit and push")
