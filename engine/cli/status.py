"""``automator67 status``: how the cloud is now."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click
from sqlalchemy import select

from automator67.engine.cli.common import ago, json_option, print_json, reading, state_option, table
from automator67.engine.judge import AppState
from automator67.engine.store.breakers import standings
from automator67.engine.store.commits import recent_commits
from automator67.engine.store.facts import app_state_rows, fact
from automator67.engine.store.tables import holds, nodes
from automator67.engine.store.uptime import months
from automator67.engine.uptime import percent


@click.command("status", short_help="How the cloud is now: nodes, apps, the present commit.")
@state_option
@json_option
def command(state: Path, as_json: bool) -> None:
    """Show nodes, apps and the present commit.

    Exit code 0: all apps are synced and healthy; 1: something is not; 255: the state cannot be read.
    """
    store = reading(state)
    with store.read() as tx:
        apps = list(app_state_rows(tx).values())
        machines = list(tx.execute(select(nodes).order_by(nodes.c.name)))
        commits = recent_commits(tx, 1)
        remote_error = fact(tx, "remote_error")
        breakers = standings(tx)
        uptime = {m.app: m.ratio for m in reversed(months(tx, time.time()))}
        held = {row.app: row.reason for row in tx.execute(select(holds))}
    wrong = [a for a in apps if a.health != "healthy" or a.sync != "synced" or a.drift == "drifted"]
    if as_json:
        print_json(
            {
                "commit": asdict(commits[0]) if commits else None,
                "remote_error": remote_error,
                "nodes": [_node(m) for m in machines],
                "apps": [asdict(a) for a in apps],
                "holds": held,
                "uptime": uptime,
                "breakers": [asdict(b) for b in breakers],
            }
        )
        raise click.exceptions.Exit(1 if wrong else 0)
    if commits:
        c = commits[0]
        click.echo(f"commit {c.id[:10]}  {c.state}  {c.subject}\n  {c.summary}")
    else:
        click.echo("no commit has been read yet")
    if remote_error:
        click.echo(f"! the repository cannot be read: {remote_error}")
    rows = [(n["name"], n["state"], n["seen"], n["reason"]) for n in map(_node, machines)]
    click.echo("\n" + table(("NODE", "STATE", "SEEN", ""), rows) if rows else "\nno node has joined yet")
    lines = [_line(a, uptime.get(a.app)) for a in apps]
    head = ("APP", "SYNC", "HEALTH", "DRIFT", "REPLICAS", "UPTIME", "WHERE", "")
    click.echo("\n" + table(head, lines) if lines else "\nno app is declared yet")
    left = [(b.name, b.phase, _clock(b.until), b.why) for b in breakers if b.phase != "closed"]
    if left:
        click.echo("\n" + table(("LEFT ALONE", "BREAKER", "UNTIL", ""), left))
    raise click.exceptions.Exit(1 if wrong else 0)


def _line(a: AppState, uptime: float | None) -> tuple[str, ...]:
    replicas = f"{a.replicas_healthy}/{a.replicas_wanted}"
    return a.app, a.sync, a.health, a.drift, replicas, percent(uptime), _where(a.instances), a.reason


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _node(row: object) -> dict[str, object]:
    get = row._mapping  # type: ignore[attr-defined]
    report = json.loads(get["report"])
    return {
        "name": get["name"], "state": get["state"], "reason": get["state_reason"], "seen": ago(get["last_seen"]),
        "last_seen": get["last_seen"], "cert_expires": get["cert_expires"], "revoked_at": get["revoked_at"],
        "capacity": report.get("capacity"), "usage": report.get("usage"), "runtimes": report.get("runtimes"),
    }  # fmt: skip


def _where(instances: object) -> str:
    parts = []
    for i in instances:  # type: ignore[attr-defined]
        where = f"{i['node']} http://{i['address']}" if i["address"] else str(i["node"])
        parts.append(f"{where} (draining)" if i["phase"] == "draining" else where)
    return ", ".join(parts)
