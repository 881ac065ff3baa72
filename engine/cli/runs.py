"""``automator67 runs [APP]``: what ran to its end, what runs, and when a job is due next."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from automator67.engine.apps.revisions import from_spec
from automator67.engine.apps.runs import words
from automator67.engine.cli.common import ago, json_option, print_json, reading, state_option, table
from automator67.engine.job_times import next_time
from automator67.engine.jobs import Run
from automator67.engine.store.facts import app_state_rows
from automator67.engine.store.intents import load_intents
from automator67.schemas.cron_times import shown
from automator67.schemas.near import near_hint


@click.command("runs", short_help="The runs of jobs and of commands, and when jobs are due next.")
@click.argument("app", required=False, default="")
@state_option
@json_option
def command(app: str, state: Path, as_json: bool) -> None:
    """List the runs of APP, or of all apps, the newest first (50 of each app are remembered).

    The log of a run: automator67 logs APP --run N (the last 3 of each app are kept on their nodes).
    """
    app = app.removeprefix("app/")
    with reading(state).read() as tx:
        intents, known = load_intents(tx), app_state_rows(tx)
    if app and app not in known:
        raise click.ClickException(f"there is no app {app}{near_hint(app, known)}")
    found = [r for name, mine in sorted(intents.runs.by_app.items()) if app in ("", name) for r in mine]
    jobs = {name: from_spec(r.spec) for name, r in intents.deployed.items() if app in ("", name)}
    due = {name: at for name, a in jobs.items() if a.job and (at := next_time(a.job, time.time()))}
    if as_json:
        print_json({"runs": [asdict(r) for r in found], "due": due})
        return
    rows = [(r.app, str(r.number), r.kind, r.node or "-", ago(r.started_at or r.asked_at), _took(r), _state(r))
            for r in found]  # fmt: skip
    if rows:
        click.echo(table(("APP", "RUN", "WHY", "NODE", "BEGAN", "TOOK", ""), rows))
    for name, at in sorted(due.items()):
        job = jobs[name].job
        assert job is not None
        click.echo(f"app/{name} is due at {shown(at, job.timezone)}")
    if not rows and not due:
        click.echo("nothing has run; see docs/jobs.md")


def _took(run: Run) -> str:
    if not run.started_at:
        return "-"
    return f"{(run.ended_at or time.time()) - run.started_at:.0f} s"


def _state(run: Run) -> str:
    if run.over:
        return words(run)
    return "runs" if run.started_at else "waits for a node"
