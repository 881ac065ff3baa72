"""``automator67 sync``: look now."""

from __future__ import annotations

from pathlib import Path

import click

from automator67.engine.cli.common import json_option, print_json, state_option
from automator67.engine.control_client import ControlClient, EngineAway


@click.command("sync", short_help="Ask the engine to look at the repository now.")
@click.option(
    "--confirm-deletions", is_flag=True, help="Allow the present commit to remove more than limits.deletions."
)
@click.option("--dry-run", is_flag=True, help="Only look and plan; take no step.")
@state_option
@json_option
def command(confirm_deletions: bool, dry_run: bool, state: Path, as_json: bool) -> None:
    """Fetch, plan and apply now instead of at the next webhook or poll.

    Exit code 0: in sync; 1: steps remain (they are under way or wait); 255: error.
    """
    if dry_run:
        from automator67.engine.cli.plan import command as plan_command

        plan_command.main([*(["--json"] if as_json else []), "--state", str(state)], standalone_mode=True)
        return
    try:
        outcome = ControlClient(state).sync(confirm_deletions=confirm_deletions)
    except EngineAway as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json(outcome)
    elif outcome["error"]:
        click.echo(f"! {outcome['error']}")
    else:
        rest = f"{outcome['remaining']} steps remain" if outcome["remaining"] else "in sync"
        click.echo(f"commit {outcome['commit'][:10]}: {rest}")
    raise click.exceptions.Exit(255 if outcome["error"] else 1 if outcome["remaining"] else 0)
