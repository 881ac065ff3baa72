"""``automator67 node``: join tokens, joining, the list of nodes, revocation."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from automator67.engine.cli.common import ago, json_option, print_json, reading, state_option, table
from automator67.engine.store.nodes import NodeRecord, node_records
from automator67.schemas.units import human_bytes, human_seconds, seconds


@click.group("node", short_help="Join, list and revoke nodes.")
def command() -> None:
    """Manage the machines that run agents. What a node is for is written in nodes/NAME.yaml."""


@command.command("token")
@click.argument("name")
@click.option("--ttl", default="1h", show_default=True, help="How long the token may be used.")
@click.option("--url", default="", help="How the node reaches this engine, such as https://cloud.example.org:6767.")
@state_option
@json_option
def token(name: str, ttl: str, url: str, state: Path, as_json: bool) -> None:
    """Make a token that lets one machine join as node NAME, once, and print the command to run there."""
    from automator67.engine.control_client import ControlClient, EngineAway

    try:
        answer = ControlClient(state).token(name, seconds(ttl))
    except (EngineAway, ValueError) as error:
        raise click.ClickException(str(error)) from error
    where = url or answer.get("url", "https://THIS-MACHINE:6767")
    if as_json:
        print_json(answer | {"url": where})
        return
    life = human_seconds(seconds(ttl))
    click.echo(f"On the new node, within {life} (the token works once):\n")
    click.echo(f"  automator67 node join {where} {answer['token']}\n")
    click.echo(f"And if it is not there yet, commit nodes/{name}.yaml with:  kind: agent")


@command.command("join", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def join(arguments: tuple[str, ...]) -> None:
    """Make this machine a node: URL TOKEN [--state DIR] (see --help of the agent)."""
    os.execv(sys.executable, [sys.executable, "-m", "automator67.agent", "join", *arguments])  # noqa: S606


@command.command("list")
@state_option
@json_option
def list_nodes(state: Path, as_json: bool) -> None:
    """List every node that joined."""
    with reading(state).read() as tx:
        records = node_records(tx)
    if as_json:
        print_json([_as_data(r) for r in records])
        return
    rows = []
    for r in records:
        memory = r.report.get("capacity", {}).get("memory", 0)
        runtimes = ",".join(sorted(r.report.get("runtimes", {})))
        rows.append((r.name, r.state, ago(r.last_seen), human_bytes(memory), runtimes, r.state_reason))
    click.echo(table(("NODE", "STATE", "SEEN", "MEMORY", "RUNTIMES", ""), rows) if rows else "no node has joined yet")


def _as_data(r: NodeRecord) -> dict[str, object]:
    shown = {key: r.report.get(key, {}) for key in ("capacity", "usage", "runtimes", "policy", "agent")}
    return shown | {
        "name": r.name,
        "state": r.state,
        "reason": r.state_reason,
        "last_seen": r.last_seen,
        "cert_expires": r.cert_expires,
        "revoked_at": r.revoked_at,
    }


@command.command("revoke")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@state_option
def revoke(name: str, dry_run: bool, state: Path) -> None:
    """Refuse node NAME from now on. What it runs is placed elsewhere; it can join again with a new token."""
    from automator67.engine.control_client import ControlClient, EngineAway

    if dry_run:
        click.echo(f"would refuse node {name} from now on; its replicas without volumes would start elsewhere")
        return
    try:
        ControlClient(state).revoke(name)
    except EngineAway as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"node {name} is refused from now on")
