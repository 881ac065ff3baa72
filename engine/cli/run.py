"""``automator67 run APP -- CMD``: a command in an instance of its own, made like those of the app."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from automator67.engine.apps.runs import words
from automator67.engine.cli.common import json_option, print_json, reading, state_option
from automator67.engine.control_client import ControlClient, EngineAway
from automator67.engine.jobs import Run
from automator67.engine.store.database import Store
from automator67.engine.store.runs import find_run

_LOOK_SECONDS = 0.3
CANNOT = 255


@click.command("run", short_help="Run a command to its end in an instance of its own.")
@click.argument("app")
@click.option("-d", "--detach", is_flag=True, help="Only begin it; see automator67 runs and logs APP --run N.")
@click.option("--dry-run", is_flag=True, help="Only say whether there is such an app.")
@state_option
@json_option
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
def command(app: str, detach: bool, dry_run: bool, state: Path, as_json: bool, argv: tuple[str, ...]) -> None:
    """Run COMMAND with image, environment, secrets and limits of APP; for a job, its own command when none is given.

    Its output is shown as it comes; Ctrl-C ends it. Exit code: the command's; 255 when it did not come to one.
    """
    app = app.removeprefix("app/")
    client, store = ControlClient(state), reading(state)
    try:
        if dry_run:
            _would(store, app)
            return
        begun = client.begin_run(app, argv)
        if detach or as_json:
            print_json(begun) if as_json else click.echo(f"run {begun['number']} of app/{app} is asked for")
            if detach:
                return
        run = _followed(client, store, app, begun)
    except EngineAway as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json({"state": run.state, "exit_code": run.exit_code, "detail": run.detail})
    elif run.exit_code is None:
        click.echo(f"automator67: run {run.number} {words(run)}", err=True)
    raise click.exceptions.Exit(CANNOT if run.exit_code is None else run.exit_code)


def _would(store: Store, app: str) -> None:
    from automator67.engine.store.facts import app_state_rows
    from automator67.schemas.near import near_hint

    with store.read() as tx:
        known = app_state_rows(tx)
    if app not in known:
        raise click.ClickException(f"there is no app {app}{near_hint(app, known)}")
    click.echo(f"would run it as app/{app} at revision {known[app].rev_wanted}")


def _followed(client: ControlClient, store: Store, app: str, begun: dict[str, Any]) -> Run:
    """Show what a run says until it has ended; return it then. Raises EngineAway."""
    number, shown = int(begun["number"]), {"out": 0, "err": 0}
    while True:
        try:
            run = _now(store, app, number)
            if run is None:
                raise EngineAway(f"run {number} of app/{app} is forgotten; was the app removed?")
            if run.started_at:
                _show_more(client, app, run, shown)
            if run.over:
                return run
            time.sleep(_LOOK_SECONDS)
        except KeyboardInterrupt:
            client.end_run(app, number)
            click.echo("automator67: asked it to end", err=True)


def _now(store: Store, app: str, number: int) -> Run | None:
    with store.read() as tx:
        return find_run(tx, app, number)


def _show_more(client: ControlClient, app: str, run: Run, shown: dict[str, int]) -> None:
    """Print the lines of a run that were not printed yet."""
    seen = {"out": 0, "err": 0}
    try:
        for line in client.logs(app, {"instance": run.instance, "tail": "-1"}, follow=False):
            stream = "err" if line.get("s") == "err" else "out"
            if "m" not in line:
                continue
            seen[stream] += 1
            if seen[stream] > shown[stream]:
                (sys.stderr if stream == "err" else sys.stdout).write(f"{line['m']}\n")
    except EngineAway:
        # Not there yet, or not any more: what there is to say is in the run.
        return
    finally:
        sys.stdout.flush()
        for stream, count in seen.items():
            shown[stream] = max(shown[stream], count)
