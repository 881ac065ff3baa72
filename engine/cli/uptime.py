"""``automator67 uptime``: how much of each month each app answered."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import asdict
from pathlib import Path

import click

from automator67.engine.cli.common import json_option, print_json, reading, state_option, table
from automator67.engine.store.uptime import months
from automator67.engine.uptime import Month, percent
from automator67.schemas.near import near_hint
from automator67.schemas.units import human_seconds

_COLUMNS = ("app", "month", "uptime", "up_seconds", "down_seconds", "maintenance_seconds", "unknown_seconds", "since")


@click.command("uptime", short_help="How much of each month each app answered.")
@click.argument("app", required=False)
@state_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, times in seconds.")
def command(app: str | None, state: Path, as_json: bool, as_csv: bool) -> None:
    """Show the uptime of each app (or of APP), by month in UTC, the newest first.

    The share is of the time that is known, without maintenance windows. Time in which the engine was away is unknown.
    Exit code 255: there is no such app, or the state cannot be read.
    """
    with reading(state).read() as tx:
        found = months(tx, time.time())
    if app is not None:
        apps = {m.app for m in found}
        name = app.removeprefix("app/")
        found = [m for m in found if m.app == name]
        if not found:
            raise click.ClickException(f"there is no uptime of an app {name}{near_hint(name, apps)}")
    if as_json:
        print_json([_entry(m) for m in found])
    elif as_csv:
        click.echo(_csv(found), nl=False)
    else:
        rows = [(m.app, m.month, percent(m.ratio), *_words(m)) for m in found]
        head = ("APP", "MONTH", "UPTIME", "DOWN", "MAINTENANCE", "UNKNOWN")
        click.echo(table(head, rows) if rows else "nothing is known yet")


def _words(m: Month) -> tuple[str, ...]:
    return tuple(human_seconds(s) if s >= 1 else "-" for s in (m.down, m.maintenance, m.unknown))


def _entry(m: Month) -> dict[str, object]:
    parts = {f"{k}_seconds": round(v, 1) for k, v in asdict(m).items() if k in ("up", "down", "maintenance", "unknown")}
    return {"app": m.app, "month": m.month, "uptime": m.ratio, **parts, "since": m.since}


def _csv(found: list[Month]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_entry(m) for m in found)
    return out.getvalue()
