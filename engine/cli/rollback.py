"""``automator67 rollback APP``: a branch that brings an earlier revision back."""

from __future__ import annotations

from pathlib import Path

import click

from automator67.engine.cli.common import json_option, print_json, state_option
from automator67.engine.control_client import ControlClient, EngineAway


@click.command("rollback", short_help="Make a branch that brings an earlier revision of an app back.")
@click.argument("app")
@click.argument("revision", default="")
@click.option("--dry-run", is_flag=True, help="Only show the change.")
@state_option
@json_option
def command(app: str, revision: str, dry_run: bool, state: Path, as_json: bool) -> None:
    """Commit the file of APP as REVISION had it to the branch rollback/APP-REVISION, and open a pull request.

    Without REVISION: the last healthy one before the present. Nothing changes until the branch is merged, since the
    repository is the only source. `automator67 revisions APP` lists what can be gone back to. Exit code 0: the branch
    is there; 255: it could not be made.
    """
    app = app.removeprefix("app/")
    try:
        done = ControlClient(state).roll_back(app, revision, dry_run=dry_run)
    except EngineAway as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json(done)
        return
    for note in done["notes"]:
        click.echo(f"! {note}")
    branch, into = done["branch"], done["into"]
    if dry_run:
        click.echo(f"would make the branch {branch}:\n\n{done['diff']}", nl=False)
        return
    click.echo(f"branch {branch}" + ("" if done["made"] else " (it was there already)"))
    if done["page"]:
        click.echo(f"merge {done['page']}")
    else:
        click.echo(f"merge it: git fetch origin && git checkout {into} && git merge origin/{branch} && git push")
