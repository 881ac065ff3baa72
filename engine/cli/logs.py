"""``automator67 logs APP``: log lines of an app's instances, by way of the engine."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from automator67.engine.cli.common import json_option, state_option
from automator67.engine.control_client import ControlClient, EngineAway
from automator67.schemas.units import seconds


@click.command("logs", short_help="Log lines of an app, from every node it runs on.")
@click.argument("app")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come.")
@click.option("-n", "--tail", default=100, show_default=True, type=click.IntRange(0, 100_000), help="Lines first.")
@click.option("--since", default="", help="Only lines younger than this, such as 10m.")
@click.option("--node", default="", help="Only instances on this node.")
@state_option
@json_option
def command(app: str, follow: bool, tail: int, since: str, node: str, state: Path, as_json: bool) -> None:
    """Print log lines of APP, merged over its instances."""
    try:
        start = time.time() - seconds(since) if since else 0.0
    except ValueError as error:
        raise click.ClickException(f"--since: {error}") from error
    try:
        client = ControlClient(state)
        for line in client.logs(app.removeprefix("app/"), follow=follow, tail=tail, since=start, node=node):
            if as_json:
                click.echo(json.dumps(line, ensure_ascii=False))
            else:
                at = time.strftime("%H:%M:%S", time.localtime(float(line.get("t", 0))))
                click.echo(f"{at} {line.get('instance', app)} | {line.get('m', '')}")
    except EngineAway as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        return
