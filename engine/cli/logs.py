"""``automator67 logs APP``: log lines of an app's replicas in the order of their times, by way of the engine."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path

import click

from automator67.engine.cli.common import json_option, reading, state_option
from automator67.engine.cli.log_lines import LineWriter
from automator67.engine.control_client import ControlClient, EngineAway
from automator67.schemas.units import seconds


@click.command("logs", short_help="Log lines of an app, from every node it runs on.")
@click.argument("app")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come; new replicas join, gone ones leave.")
@click.option("-n", "--tail", default="", metavar="N|all", help="The last lines of each replica (default: 100, or all "
              "with --since).")  # fmt: skip
@click.option("--since", default="", help="Only lines younger than this, such as 10m, or since a time in ISO form.")
@click.option("--node", default="", help="Only replicas on this node.")
@click.option("--instance", default="", help="Only this replica, by its id (see automator67 status).")
@click.option("--run", "run", type=int, default=0, metavar="N", help="Of this run (see automator67 runs).")
@click.option("--build", is_flag=True, help="The log of the newest build of the app's image instead.")
@state_option
@json_option
def command(
    app: str,
    follow: bool,
    tail: str,
    since: str,
    node: str,
    instance: str,
    run: int,
    build: bool,
    state: Path,
    as_json: bool,
) -> None:
    """Print log lines of APP, merged over its replicas.

    What cannot be read is said on standard error, and the rest goes on. Exit code 0: read; 255: nothing could be.
    """
    if run:
        instance = _instance(app.removeprefix("app/"), run, state)
    query = {
        "tail": str(_tail(tail, since)),
        "since": str(_since(since)),
        "node": node.removeprefix("node/"),
        "instance": instance,
    }
    query |= {"build": "1"} if build else {}
    writer = LineWriter(colour=sys.stdout.isatty())
    try:
        for line in ControlClient(state).logs(app.removeprefix("app/"), query, follow=follow):
            if "warning" in line:
                click.echo(f"automator67: {line['warning']}", err=True)
            elif as_json:
                sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
            else:
                sys.stdout.write(writer.line(line))
            if follow:
                sys.stdout.flush()
        sys.stdout.flush()
    except EngineAway as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        return


def _instance(app: str, number: int, state: Path) -> str:
    from automator67.engine.store.runs import find_run

    with reading(state).read() as tx:
        run = find_run(tx, app, number)
    if run is None:
        raise click.ClickException(f"app/{app} has no run {number}; see automator67 runs {app}")
    return run.instance


def _tail(text: str, since: str) -> int:
    if text in ("", "all"):
        return -1 if text or since else 100
    if not text.isdecimal():
        raise click.BadParameter(f"{text} is neither a number nor all", param_hint="--tail")
    return int(text)


def _since(text: str) -> float:
    if not text:
        return 0.0
    try:
        return time.time() - seconds(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError as error:
        raise click.BadParameter(
            f"{text} is neither a duration such as 10m nor a time such as 2026-01-31T12:00", param_hint="--since"
        ) from error
