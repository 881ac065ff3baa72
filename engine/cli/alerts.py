"""``automator67 alerts``: what is wrong and who was told, trying a target, keeping quiet about something."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from automator67.engine.alerts.incidents import Incident
from automator67.engine.alerts.words import incident_data
from automator67.engine.cli.common import ago, json_option, print_json, reading, state_option, table
from automator67.engine.control_client import ControlClient, EngineAway
from automator67.engine.store.alerts import lasting_incidents, load_silences, recent_incidents, unsent
from automator67.engine.store.facts import app_state_rows
from automator67.engine.store.nodes import node_names
from automator67.schemas.near import near_hint
from automator67.schemas.units import human_seconds, seconds

SHOWN = 30
_KINDS = ("app", "node", "commit", "volume", "repository", "engine")


@click.group("alerts", invoke_without_command=True, short_help="What is wrong, who was told; test, silence.")
@click.option("--all", "everything", is_flag=True, help="Also what is over (the last 500).")
@state_option
@json_option
@click.pass_context
def command(context: click.Context, everything: bool, state: Path, as_json: bool) -> None:
    """List incidents and silences, the newest first. Exit code 0: nothing is wrong; 1: something is."""
    if context.invoked_subcommand is not None:
        return
    with reading(state).read() as tx:
        lasting, silences, failing = lasting_incidents(tx), load_silences(tx, time.time()), unsent(tx)
        listed = recent_incidents(tx, 1000) if everything else lasting
    if as_json:
        print_json({
            "incidents": [incident_data(i) | {"told": i.told_to} for i in listed],
            "silences": [{"resource": s.resource, "until": s.until, "reason": s.reason, "by": s.by} for s in silences],
            "failing": failing,
        })  # fmt: skip
    else:
        _show(listed[:SHOWN], len(listed))
        for s in silences:
            why = f": {s.reason}" if s.reason else ""
            click.echo(f"{s.resource} is silenced for {human_seconds(s.until - time.time())} more by {s.by}{why}")
        for f in failing:
            click.echo(f"! {f['target']} does not take messages ({f['waiting']} wait): {f['error']}")
    context.exit(1 if lasting else 0)


def _show(listed: list[Incident], count: int) -> None:
    if not listed:
        click.echo("nothing is wrong")
        return
    rows = [(i.resource, i.state, "over" if i.ended_at else "lasts", ago(i.opened_at),
             ", ".join(i.told_to) or "nobody", i.reason)
            for i in listed]  # fmt: skip
    click.echo(table(("RESOURCE", "STATE", "", "BEGAN", "TOLD", ""), rows))
    if count > len(listed):
        click.echo(f"and {count - len(listed)} more (--json)")


@command.command("test", short_help="Send a test message to a target.")
@click.argument("target")
@click.option("--dry-run", is_flag=True, help="Only see whether there is such a target and its address can be opened.")
@state_option
@json_option
def test_command(target: str, dry_run: bool, state: Path, as_json: bool) -> None:
    """Send a test message to TARGET: the name of the secret that holds its URL. Exit code 0: it was taken."""
    said = _ask(state, "test", {"target": target} | ({"dry": "1"} if dry_run else {}))
    _answer(said, as_json, f"{target} {'can be told' if dry_run else 'was told'}")


def _known(state: Path) -> list[str]:
    with reading(state).read() as tx:
        return [f"app/{name}" for name in app_state_rows(tx)] + [f"node/{name}" for name in node_names(tx)]


def _complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        known = _known(context.params["state"])
    except (click.ClickException, KeyError):
        return []
    return [name for name in known if name.startswith(incomplete)]


@command.command("silence", short_help="Tell nothing of a resource for a while.")
@click.argument("resource", shell_complete=_complete)
@click.option("--for", "length", default="2h", show_default=True, help="How long.")
@click.option("--reason", default="", help="Why, for those who look later.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@state_option
@json_option
def silence_command(resource: str, length: str, reason: str, dry_run: bool, state: Path, as_json: bool) -> None:
    """Tell nobody of RESOURCE (node/hel1, app/blog, app/*, *) for a while.

    What is still wrong afterwards is told then; the end of what was told before is told in any case.
    """
    try:
        wait = seconds(length)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from error
    kind, _, name = resource.partition("/")
    if resource != "*" and (kind not in _KINDS or not name):
        raise click.ClickException(
            f"{resource} is no resource: write node/NAME, app/NAME, app/* or *{near_hint(resource, _known(state))}"
        )
    if kind in ("app", "node") and name != "*" and resource not in (known := _known(state)):
        raise click.ClickException(f"there is no {resource}{near_hint(resource, known)}")
    query = {"resource": resource, "seconds": str(wait), "reason": reason} | ({"dry": "1"} if dry_run else {})
    said = _ask(state, "silence", query)
    _answer(said, as_json, f"{resource} {'would be' if dry_run else 'is'} silenced for {human_seconds(wait)}")


@command.command("unsilence", short_help="End a silence.")
@click.argument("resource")
@state_option
@json_option
def unsilence_command(resource: str, state: Path, as_json: bool) -> None:
    """Tell of RESOURCE again from now on."""
    _answer(_ask(state, "unsilence", {"resource": resource}), as_json, f"{resource} is not silenced any more")


def _ask(state: Path, verb: str, query: dict[str, str]) -> dict[str, Any]:
    try:
        return ControlClient(state).alerts(verb, query)
    except EngineAway as error:
        raise click.ClickException(str(error)) from error


def _answer(said: dict[str, Any], as_json: bool, text: str) -> None:
    if as_json:
        print_json(said)
    else:
        click.echo(text)
