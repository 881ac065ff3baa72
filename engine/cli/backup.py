"""``automator67 backup``: snapshots of volumes: which there are, make one, restore one, see that they restore."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from automator67.engine.cli.common import ago, json_option, print_json, reading, state_option, table
from automator67.engine.control_client import ControlClient, EngineAway
from automator67.engine.store.volumes import load_volumes
from automator67.engine.volumes import Run, VolumeFacts, VolumeId
from automator67.schemas.units import human_bytes

_LOOK_SECONDS = 0.3


@click.group("backup", short_help="Snapshots of volumes: list, make, restore, verify.")
def command() -> None:
    """Snapshots of volumes, as `backup:` in apps/NAME.yaml asks for them."""


def _which(f: Callable[..., Any]) -> Callable[..., Any]:
    f = click.argument("volume", default="")(f)
    f = click.argument("app")(f)
    f = click.option("--slot", default="0", help="Which replica's volume, where there are several.")(f)
    return json_option(state_option(f))


@command.command("list", short_help="What was backed up, and which snapshots there are.")
@click.argument("app", default="")
@state_option
@json_option
def list_command(app: str, state: Path, as_json: bool) -> None:
    """List volumes with their last snapshot and test; with APP, each snapshot and what was done."""
    with reading(state).read() as tx:
        facts = load_volumes(tx)
    app = app.removeprefix("app/")
    volumes = sorted({*facts.snapshots, *(r.volume for r in facts.runs)})
    volumes = [v for v in volumes if app in ("", v.app)]
    if as_json:
        print_json([_data(facts, v) for v in volumes])
        return
    if not volumes:
        click.echo("nothing was backed up yet; see docs/backups.md")
        return
    click.echo(table(("VOLUME", "NODE", "SNAPSHOTS", "LAST", "SIZE", "TESTED", ""), [_row(facts, v) for v in volumes]))
    if app:
        for volume in volumes:
            _details(facts, volume)


@command.command("run", short_help="Make a snapshot now.")
@_which
@click.option("--no-wait", is_flag=True, help="Only ask for it.")
def run_command(app: str, volume: str, slot: str, no_wait: bool, state: Path, as_json: bool) -> None:
    """Make a snapshot of a volume of APP now. Exit code 0: made; 1: it failed; 255: it cannot be asked for."""
    _ask(state, "backup", {"app": app, "volume": volume, "slot": slot}, as_json, wait=not no_wait)


@command.command("verify", short_help="Restore a snapshot into a scratch volume, and compare.")
@_which
@click.option("--snapshot", default="", help="Which one (default: the latest).")
def verify_command(app: str, volume: str, slot: str, snapshot: str, state: Path, as_json: bool) -> None:
    """See that a snapshot restores: into a scratch volume, all of it read and compared, and thrown away.

    Exit code 0: it restores; 1: it does not; 255: it cannot be asked for.
    """
    _ask(state, "test", {"app": app, "volume": volume, "slot": slot, "snapshot": snapshot}, as_json)


@command.command("restore", short_help="Restore a snapshot into a volume.")
@_which
@click.option("--snapshot", default="", help="Which one, by the beginning of its id (default: the latest).")
@click.option("--to", default="", metavar="APP[/VOLUME]", help="Restore into another volume.")
@click.option("--to-slot", default="0", help="Of which replica of that app.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--no-wait", is_flag=True, help="Only ask for it.")
def restore_command(
    app: str, volume: str, slot: str, snapshot: str, to: str, to_slot: str, yes: bool, dry_run: bool, no_wait: bool,
    state: Path, as_json: bool,
) -> None:  # fmt: skip
    """Restore a snapshot of a volume of APP into the same volume, or with --to into that of another app.

    The snapshot is first restored beside the volume and compared; then the copy of the app is stopped for a moment,
    the two change places, and it starts again. What the volume held before is kept beside it.
    Exit code 0: restored; 1: it failed, and the volume is as it was; 255: it cannot be asked for.
    """
    query = {"app": app, "volume": volume, "slot": slot, "snapshot": snapshot, "to": to, "to_slot": to_slot}
    client = ControlClient(state)
    try:
        planned = client.volumes("restore", query | {"dry": "1"})
    except EngineAway as error:
        raise click.ClickException(str(error)) from error
    one = planned["snapshot"]
    size = f" ({one['files']} files, {human_bytes(one['bytes'])})" if one["files"] >= 0 else ""
    text = f"snapshot {one['id'][:8]} of {planned['origin']}, made {ago(one['at'])}{size}, into {planned['volume']} on "
    text += f"{planned['node']}; its app stops for a moment, and what is there now is kept aside"
    if dry_run:
        if as_json:
            print_json(planned)
        else:
            click.echo(f"would be done: {text}")
        return
    if not yes:
        click.confirm(f"{text}. Go on?", abort=True, err=True)
    _ask(state, "restore", query | {"snapshot": one["id"]}, as_json, wait=not no_wait)


@command.command("recovery", short_help="What it takes to restore without this engine.")
@_which
def recovery_command(app: str, volume: str, slot: str, state: Path, as_json: bool) -> None:
    """Print repository, password and keys of a volume's snapshots, for restic itself. Keep it where it is safe.

    With these, and restic, the snapshots are readable when the engine's machine is lost with all its keys.
    """
    try:
        found = ControlClient(state).volumes("recovery", {"app": app, "volume": volume, "slot": slot})
    except EngineAway as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json(found)
        return
    if sys.stdout.isatty():
        click.echo("# These are secrets. Redirect them into a file that you keep away from this machine.", err=True)
    if found.get("bucket"):
        click.echo("# With this repository and its keys (automator67 bucket rebuild, if the metadata are lost too):")
        click.echo(f"#   automator67 bucket cp --recursive {found['bucket']} DIRECTORY")
        click.echo("export RESTIC_REPOSITORY=DIRECTORY")
    else:
        click.echo(f"export RESTIC_REPOSITORY='{found['repository']}'")
    for key, value in found["env"].items():
        click.echo(f"export {key}='{value}'")
    click.echo("# restic snapshots; restic restore latest --target DIRECTORY")


def _ask(state: Path, verb: str, query: dict[str, str], as_json: bool, *, wait: bool = True) -> None:
    client = ControlClient(state)
    try:
        asked = client.volumes(verb, query)
        run = _follow(client, asked["id"], quiet=as_json) if wait else asked
    except EngineAway as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print_json(run)
    elif not wait:
        click.echo(f"asked for on {asked['node']}; see automator67 backup list {query['app']}")
    elif run["state"] == "done":
        counted = f": {run['files']} files, {human_bytes(run['bytes'])}" if run["files"] >= 0 else ""
        click.echo(f"{verb} of {asked['volume']} on {asked['node']} done{counted}, snapshot {run['snapshot'][:8]}")
        if run["message"]:
            click.echo(run["message"])
    else:
        click.echo(f"{verb} of {asked['volume']} on {asked['node']} failed: {run['message']}", err=True)
    raise click.exceptions.Exit(0 if not wait or run["state"] == "done" else 1)


def _follow(client: ControlClient, run: str, *, quiet: bool) -> dict[str, Any]:
    """Show how far it is until it is over; return how it ended."""
    last = ""
    while True:
        found = client.volumes("run", {"id": run})
        if found["state"] != "wanted":
            return found
        text = found["progress"] or found["message"]
        if text and text != last and not quiet:
            click.echo(f"  {text}", err=True)
            last = text
        time.sleep(_LOOK_SECONDS)


def _row(facts: VolumeFacts, volume: VolumeId) -> Sequence[object]:
    latest, held = facts.latest(volume), facts.snapshots.get(volume, ())
    tested = facts.last(volume, "test")
    result = "" if tested is None else ago(tested.ended_at) + ("" if tested.state == "done" else ", failed")
    size = human_bytes(latest.bytes) if latest is not None and latest.bytes >= 0 else ""
    node = facts.homes.get((volume.app, volume.slot), "")
    return (
        str(volume),
        node,
        len(held),
        ago(latest.at if latest else None),
        size,
        result or "never",
        _now(facts, volume),
    )


def _now(facts: VolumeFacts, volume: VolumeId) -> str:
    wanted = [r for r in facts.runs if r.volume == volume and r.state == "wanted"]
    if wanted:
        return f"{wanted[-1].kind} under way" + (f": {wanted[-1].message}" if wanted[-1].message else "")
    last = facts.last(volume, "backup")
    return f"failed: {last.message}" if last is not None and last.state == "failed" else ""


def _details(facts: VolumeFacts, volume: VolumeId) -> None:
    click.echo(f"\nsnapshots of {volume}")
    held = facts.snapshots.get(volume, ())
    rows = [(s.id[:8], ago(s.at), s.files if s.files >= 0 else "", human_bytes(s.bytes) if s.bytes >= 0 else "")
            for s in reversed(held)]  # fmt: skip
    click.echo(table(("ID", "MADE", "FILES", "SIZE"), rows))
    click.echo(f"\nwhat was done with {volume}")
    runs = [r for r in reversed(facts.runs) if r.volume == volume]
    click.echo(table(("KIND", "STATE", "WHEN", "WHY", ""), [_done(r) for r in runs]))


def _done(r: Run) -> Sequence[object]:
    return r.kind, r.state, ago(r.ended_at or r.started_at or r.asked_at), r.reason, r.message


def _data(facts: VolumeFacts, volume: VolumeId) -> dict[str, Any]:
    return {
        **volume._asdict(),
        "node": facts.homes.get((volume.app, volume.slot), ""),
        "snapshots": [asdict(s) for s in facts.snapshots.get(volume, ())],
        "runs": [asdict(r) | {"volume": volume._asdict(), "origin": r.origin._asdict()}
                 for r in facts.runs if r.volume == volume],
    }  # fmt: skip
