"""``automator67 bucket verify|repair|collect|rebuild``: what keeps buckets whole."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from automator67.engine.cli.checkout import repo_option
from automator67.engine.cli.common import json_option, print_json, state_option
from automator67.engine.cli.storage import declared, in_bucket
from automator67.schemas.units import human_bytes

if TYPE_CHECKING:
    from automator67.engine.buckets.repair import Report


def _progress(report: Report) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{report.blobs} blobs, {report.bad} bad copies", err=True, nl=False)


def _problems(found: list[str]) -> None:
    for problem in found:
        click.echo(f"! {problem}")


@click.command("verify", short_help="Read copies back and see whether they are good.")
@click.argument("name", metavar="BUCKET")
@click.option("--share", type=click.FloatRange(0, 100), default=100.0, show_default=True,
              help="Per cent of all blobs: those that were not looked at for longest.")  # fmt: skip
@repo_option
@state_option
@json_option
@click.pass_context
def verify_command(context: click.Context, name: str, share: float, repo: Path, state: Path, as_json: bool) -> None:
    """Read every copy and open it with the bucket's key. Exit code 0: all are good; 1: some are not."""
    from automator67.engine.buckets.repair import verify

    report = in_bucket(declared(repo, state), name, lambda b: verify(b, share / 100, _progress))
    if as_json:
        print_json(asdict(report))
    else:
        _problems(report.problems)
        click.echo(
            f"{report.copies} copies of {report.blobs} blobs: {report.bad} bad or missing, {report.away} not to be had "
            f"now, {len(report.lost)} blobs without any good copy"
        )
        if report.bad:
            click.echo(f"repair them: automator67 bucket repair {name}")
    context.exit(1 if report.bad or report.away or report.lost else 0)


@click.command("repair", short_help="Write the copies that are missing.")
@click.argument("name", metavar="BUCKET")
@click.option("--rebalance", is_flag=True, help="Also move copies to where they would be written today.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written and removed.")
@repo_option
@state_option
@json_option
@click.pass_context
def repair_command(
    context: click.Context, name: str, rebalance: bool, dry_run: bool, repo: Path, state: Path, as_json: bool
) -> None:  # fmt: skip
    """Bring everything to as many good copies as the bucket has replicas, by what is known (see verify).

    Providers that are drained are emptied. Exit code 0: all is as it should be; 1: something could not be repaired.
    """
    from automator67.engine.buckets.repair import repair

    report = in_bucket(
        declared(repo, state), name, lambda b: repair(b, rebalance=rebalance, dry_run=dry_run, told=_progress)
    )
    if as_json:
        print_json(asdict(report))
    else:
        _problems(report.problems)
        would = "would be " if dry_run else ""
        click.echo(
            f"{report.blobs} blobs: {report.written} copies {would}written ({human_bytes(report.bytes)}), "
            f"{report.removed} {would}removed, {len(report.lost)} lost"
        )
    context.exit(1 if report.lost or report.problems else 0)


@click.command("collect", short_help="Remove what nobody needs any more.")
@click.argument("name", metavar="BUCKET")
@repo_option
@state_option
@json_option
def collect_command(name: str, repo: Path, state: Path, as_json: bool) -> None:
    """Purge what was deleted longer ago than keep_deleted, expire what is to expire, and free the space.

    What nobody refers to is marked the first time and removed a day later.
    """
    from automator67.engine.buckets.collect import collect

    done = in_bucket(declared(repo, state), name, collect)
    if as_json:
        print_json(asdict(done))
        return
    _problems(done.problems)
    click.echo(
        f"{done.expired} files expired, {done.purged} versions purged, {done.aborted} uploads given up, "
        f"{done.condemned} blobs marked, {done.removed} removed ({human_bytes(done.bytes)} of each copy)"
    )


@click.command("rebuild", short_help="Make lost metadata anew from the providers.")
@click.argument("name", metavar="BUCKET")
@click.option("--accept-loss", is_flag=True, help="Go on though providers are away or parts of the log are lost.")
@repo_option
@state_option
def rebuild_command(name: str, accept_loss: bool, repo: Path, state: Path) -> None:
    """Bring a bucket back on a machine that has none of its metadata: the bucket's key and its providers are enough.

    Uploads in parts that were not completed are not brought back.
    """
    import uvloop

    from automator67.engine.buckets.errors import BucketError
    from automator67.engine.buckets.rebuild import rebuild

    of = declared(repo, state)
    try:
        done = uvloop.run(
            rebuild(of.rules_of(name), of.nodes, of.secret, state, accept_loss=accept_loss,
                    told=lambda line: click.echo(line, err=True))
        )  # fmt: skip
    except BucketError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{done.objects} files from {done.batches} batches of the log, in {done.blobs} blobs")
    if done.missing or done.lost:
        raise click.ClickException(f"{done.missing} blobs are nowhere to be found, {len(done.lost)} batches are lost")


COMMANDS = (verify_command, repair_command, collect_command, rebuild_command)
