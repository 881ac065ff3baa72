"""``automator67 history``: the commits the engine has looked at, and what became of each."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from automator67.engine.cli.common import ago, json_option, print_json, reading, state_option, table
from automator67.engine.store.commits import recent_commits


@click.command("history", short_help="The commits the engine has looked at.")
@state_option
@json_option
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many, newest first.")
def command(state: Path, as_json: bool, limit: int) -> None:
    """List the newest commits with what became of each."""
    with reading(state).read() as tx:
        commits = recent_commits(tx, limit)
    if as_json:
        print_json([asdict(c) | {"plan": None} for c in commits])
        return
    rows = [(c.id[:10], c.state, ago(c.seen_at), c.author, c.subject, c.summary) for c in commits]
    click.echo(table(("COMMIT", "STATE", "SEEN", "AUTHOR", "SUBJECT", ""), rows) if rows else "no commit yet")
