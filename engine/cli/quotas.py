"""``automator67 quotas``: what is used of free tiers, and what will be at the end of the month."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from automator67.engine.cli.common import json_option, print_json, reading, state_option, table
from automator67.engine.store.quotas import read_quotas


@click.command("quotas", short_help="What is used of free tiers, and what will be.")
@state_option
@json_option
def command(state: Path, as_json: bool) -> None:
    """Show what each account at a provider has used of what it gives for nothing.

    Exit code 0: all will last; 1: something is near its limit or over it; 255: the state cannot be read.
    """
    with reading(state).read() as tx:
        found = read_quotas(tx)
    if as_json:
        print_json([asdict(q) | {"state": q.state, "text": q.text} for q in found])
    else:
        rows = [(q.node, q.resource, q.state, f"{q.used / q.limit:.0%}" if q.limit else "-", q.text, _end(q.ends))
                for q in found]  # fmt: skip
        head = ("NODE", "RESOURCE", "STATE", "USED", "", "PERIOD ENDS")
        click.echo(table(head, rows) if rows else "no account has a limit that is known")
    raise click.exceptions.Exit(1 if any(q.state != "ok" for q in found) else 0)


def _end(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at)) if at else "-"
