"""``automator67 history``: the commits the engine has looked at, and what became of each."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from automator67.engine.cli.common import ago, json_option, print_json, reading, state_option, table
from automator67.engine.store.commits import recent_commits
from automator67.engine.store.facts import audited


@click.command("history", short_help="The commits the engine has looked at.")
@state_option
@json_option
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many, newest first.")
@click.option("--commands", is_flag=True, help="The commands that people ran with automator67 exec, instead.")
def command(state: Path, as_json: bool, limit: int, commands: bool) -> None:
    """List the newest commits with what became of each."""
    with reading(state).read() as tx:
        commits = recent_commits(tx, limit)
        ran = audited(tx, limit)
    if commands:
        _show_commands(ran, as_json)
        return
    if as_json:
        print_json([asdict(c) | {"plan": None} for c in commits])
        return
    rows = [(c.id[:10], c.state, ago(c.seen_at), c.author, c.subject, c.summary) for c in commits]
    click.echo(table(("COMMIT", "STATE", "SEEN", "AUTHOR", "SUBJECT", ""), rows) if rows else "no commit yet")


def _show_commands(ran: list[tuple[float, str, str]], as_json: bool) -> None:
    if as_json:
        print_json([{"at": at, "resource": resource, "message": message} for at, resource, message in ran])
        return
    rows = [(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)), r.removeprefix("app/"), m) for at, r, m in ran]
    click.echo(table(("AT", "APP", "WHO AND WHAT"), rows) if rows else "no command was run yet")
