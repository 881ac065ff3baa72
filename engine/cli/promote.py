"""``automator67 promote APP``: a canary is good enough for all requests, or is given up."""

from __future__ import annotations

from pathlib import Path

import click

from automator67.engine.cli.common import json_option, print_json, state_option
from automator67.engine.control_client import ControlClient, EngineAway


@click.command("promote", short_help="Let a canary take over, or give it up.")
@click.argument("app")
@click.option("--abort", is_flag=True, help="Give the new revision up: the last healthy one runs until a new commit.")
@click.option("--dry-run", is_flag=True, help="Only say whether it could be done.")
@state_option
@json_option
def command(app: str, abort: bool, dry_run: bool, state: Path, as_json: bool) -> None:
    """Let the new revision of APP take all requests before its `update.promote_after`, or where there is none.

    Exit code 0: done (or done before); 255: there is no canary, or no engine.
    """
    app = app.removeprefix("app/")
    try:
        done = ControlClient(state).promote(app, abort=abort, dry_run=dry_run)
    except EngineAway as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json(done)
        return
    what = "is given up" if abort else "takes over"
    would = "would be done: " if dry_run else ""
    click.echo(f"{would}revision {done['rev']} of app/{app} {what}" + (" (as before)" if done["before"] else ""))
