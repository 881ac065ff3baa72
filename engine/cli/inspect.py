"""``automator67 inspect COMMIT``: plan, steps, problems and statuses of one commit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from sqlalchemy import select

from automator67.engine.cli.common import ago, json_option, print_json, reading, state_option
from automator67.engine.store.commits import find_commit, recent_commits
from automator67.engine.store.tables import actions, posts


@click.command("inspect", short_help="Plan, steps and statuses of one commit.")
@click.argument("commit", default="")
@state_option
@json_option
def command(commit: str, state: Path, as_json: bool) -> None:
    """Show what was planned for COMMIT (a prefix is enough; default: the newest) and what was done."""
    with reading(state).read() as tx:
        record = find_commit(tx, commit) if commit else next(iter(recent_commits(tx, 1)), None)
        if record is None:
            raise click.ClickException(f"the engine has not seen a commit {commit}; see automator67 history")
        steps = [dict(r._mapping) for r in tx.execute(
            select(actions).where(actions.c.commit_id == record.id).order_by(actions.c.seq))]  # fmt: skip
        said = [dict(r._mapping) for r in tx.execute(
            select(posts).where(posts.c.commit_id == record.id).order_by(posts.c.context))]  # fmt: skip
    if as_json:
        print_json(asdict(record) | {"actions": steps, "statuses": said})
        return
    click.echo(f"commit {record.id}\n{record.author}: {record.subject}\n{record.state}: {record.summary}")
    for problem in record.problems:
        click.echo(f"  {problem.get('file')}:{problem.get('line')}: {problem.get('message')}")
    _section(
        "plan", [f"{c['resource']}  {c['kind']}  {'; '.join(c['reasons'])}" for c in record.plan.get("changes", [])]
    )
    _section("steps", [_step(s) for s in steps])
    _section("statuses", [_said(s) for s in said])


def _section(title: str, lines: list[str]) -> None:
    if lines:
        click.echo(f"\n{title}:\n" + "\n".join(f"  {line}" for line in lines))


def _step(s: dict[str, Any]) -> str:
    where = f" on {s['node']}" if s["node"] else ""
    return f"{s['state']:<10} {s['verb']} {s['instance'] or s['resource']}{where}: {s['reason']} ({ago(s['at'])})"


def _said(s: dict[str, Any]) -> str:
    posted = "posted" if (s["posted_state"], s["posted_description"]) == (s["state"], s["description"]) else "waiting"
    tail = f" — {s['error']}" if s["error"] else ""
    return f"{s['context']}  {s['state']}  {s['description']}  ({posted}){tail}"
