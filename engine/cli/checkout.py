"""The person's copy of the config repository, as the commands about secrets use it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from automator67.schemas.document import Document, read
from automator67.schemas.kinds import FOLDERS, NAME, SETTINGS
from automator67.schemas.source import MAX_BYTES

if TYPE_CHECKING:
    from automator67.engine.desired import Origin
    from automator67.engine.secrets.vault import Opener, Vault

_F = TypeVar("_F", bound=Callable[..., Any])


def repo_option(f: _F) -> _F:
    """Add ``--repo DIR``, the folder that holds automator67.yaml."""
    return click.option(
        "--repo", type=click.Path(path_type=Path, file_okay=False), default=Path(), show_default="this directory",
        help="The folder with automator67.yaml, in your copy of the repository.",
    )(f)  # fmt: skip


def opener_of(state: Path) -> Opener | None:
    """Return what opens secrets with the engine's keys, None where there are none. Raises click.ClickException."""
    from automator67.engine.secrets.errors import SecretError
    from automator67.engine.secrets.keys import Keyring
    from automator67.engine.secrets.vault import Opener

    if not os.access(state / "secrets", os.R_OK | os.X_OK):
        return None
    try:
        keyring = Keyring(state / "secrets")
        age_key = os.environ.get("A67_AGE_KEY")
        return Opener(keyring, age_key=Path(age_key) if age_key else None) if keyring.present() else None
    except SecretError as error:
        raise click.ClickException(str(error)) from error


def documents(repo: Path) -> dict[str, tuple[Document, bytes]]:
    """Return every file of the configuration in ``repo`` by its path, read and checked by itself."""
    found: dict[str, tuple[Document, bytes]] = {}
    try:
        for folder in sorted(FOLDERS):
            for path in sorted((repo / folder).glob("*")):
                if path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_BYTES:
                    name, data = f"{folder}/{path.name}", path.read_bytes()
                    found[name] = (read(name, data), data)
        found[SETTINGS] = (read(SETTINGS, (repo / SETTINGS).read_bytes()), b"")
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be read: {error.strerror}") from error
    return found


def places_of(files: Mapping[str, tuple[Document, bytes]]) -> dict[str, Origin]:
    """Return where each secret is that the files of a configuration hold, by its name."""
    from automator67.engine.desired import Origin

    return {name: Origin(path, path) for path, (d, _) in files.items() for name in d.holds}


def vault_of(repo: Path, files: Mapping[str, tuple[Document, bytes]], state: Path) -> Vault:
    """Return the secrets of a configuration, to be opened with the engine's keys where those can be read.

    Raises click.ClickException.
    """
    from automator67.engine.secrets.vault import Vault

    return Vault(cloud_name(repo), places_of(files), lambda path: files[path][1], opener_of(state))


def need_name(word: str, what: str) -> None:
    """Raise click.ClickException unless ``word`` can be the name of ``what``."""
    if not NAME.match(word):
        hint = "use lower-case letters, digits and inner hyphens, at most 40"
        raise click.ClickException(f"{word[:60]!r} cannot be the name of {what}; {hint}")


def cloud_name(repo: Path) -> str:
    """Return the name of the cloud whose configuration is in ``repo``. Raises click.ClickException."""
    path = repo / SETTINGS
    try:
        document = read(SETTINGS, path.read_bytes())
    except FileNotFoundError:
        raise click.ClickException(
            f"{path} is missing: run this in your copy of the config repository, or name it with --repo"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from error
    if document.value is None:
        raise click.ClickException(str(document.problems[0]))
    return str(document.value.get("name", "home"))


def write_file(repo: Path, name: str, text: str) -> Path:
    """Write a file of the repository, complete or not at all; return its path. Raises click.ClickException."""
    path = repo / name
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(exist_ok=True)
        if path.is_symlink():
            raise click.ClickException(f"{path} is a symbolic link; put the file itself there")
        try:
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, path)  # noqa: PTH105
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
    return path
