"""The person's copy of the config repository, as the commands about secrets use it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from automator67.schemas.document import read
from automator67.schemas.kinds import SETTINGS

_F = TypeVar("_F", bound=Callable[..., Any])


def repo_option(f: _F) -> _F:
    """Add ``--repo DIR``, the folder that holds automator67.yaml."""
    return click.option(
        "--repo", type=click.Path(path_type=Path, file_okay=False), default=Path(), show_default="this directory",
        help="The folder with automator67.yaml, in your copy of the repository.",
    )(f)  # fmt: skip


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
            draft.write_text(text, encoding="ascii")
            os.replace(draft, path)  # noqa: PTH105
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
    return path
