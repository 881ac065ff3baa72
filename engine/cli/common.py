"""What subcommands share: where the state is, opening the store to read, and printing lists."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from automator67.engine.store.database import Store, StoreUnavailable, open_store
from automator67.schemas.units import human_seconds

_F = TypeVar("_F", bound=Callable[..., Any])


def default_state() -> Path:
    """Return the state directory: ``$A67_STATE``, /var/lib/automator67 for root, else under the home directory."""
    if "A67_STATE" in os.environ:
        return Path(os.environ["A67_STATE"])
    if os.geteuid() == 0:
        return Path("/var/lib/automator67")
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "automator67"


def state_option(f: _F) -> _F:
    """Add ``--state DIR``."""
    return click.option(
        "--state", type=click.Path(path_type=Path, file_okay=False), default=default_state, show_default="$A67_STATE",
        help="The engine's state directory.",
    )(f)  # fmt: skip


def json_option(f: _F) -> _F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(f)


def store_url(state: Path) -> str | Path:
    """Return where the store is: ``$A67_STORE`` (a PostgreSQL URL), else SQLite in the state directory."""
    return os.environ.get("A67_STORE") or state / "store.db"


def reading(state: Path) -> Store:
    """Open the store to read; a missing one is an error that says what to do."""
    try:
        return open_store(store_url(state), readonly=True)
    except StoreUnavailable as error:
        raise click.ClickException(f"{error} (state directory {state}; choose another with --state)") from error


def print_json(data: Any) -> None:
    """Print data as indented JSON."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, default=list))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows under a head, in columns as wide as they need to be."""
    cells = [[str(c) for c in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def ago(at: float | None) -> str:
    """Return how long ago a time was, for people: ``3m12s ago``."""
    if not at:
        return "never"
    return f"{human_seconds(max(0.0, time.time() - at))} ago"
