"""``automator67 revisions APP``: the revisions of an app that can be gone back to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from automator67.engine.cli.common import ago, json_option, print_json, reading, state_option, table
from automator67.engine.store.facts import app_state_rows
from automator67.engine.store.revisions import Kept, kept_revisions


@click.command("revisions", short_help="The revisions of an app that are kept.")
@click.argument("app")
@state_option
@json_option
def command(app: str, state: Path, as_json: bool) -> None:
    """List the newest revisions of APP (10 are kept), the one that was asked for last first."""
    app = app.removeprefix("app/")
    with reading(state).read() as tx:
        kept = kept_revisions(tx, app)
        now = app_state_rows(tx)
    if not kept:
        from automator67.schemas.near import near_hint

        raise click.ClickException(f"no revision of app/{app} is known{near_hint(app, now)}")
    running = {str(i["rev"]) for i in now[app].instances} if app in now else set()
    if as_json:
        print_json([asdict(k) | {"running": k.rev in running} for k in kept])
        return
    rows = [(k.rev, k.commit[:10], ago(k.asked_at), ago(k.healthy_at), _state(k, running)) for k in kept]
    click.echo(table(("REVISION", "COMMIT", "ASKED FOR", "HEALTHY", ""), rows))


def _state(k: Kept, running: set[str]) -> str:
    words = (["runs"] if k.rev in running else []) + ([f"held: {k.held}"] if k.held else [])
    return ", ".join(words)
