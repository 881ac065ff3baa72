"""``automator67 bucket``: the files of buckets."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from automator67.engine.cli.bucket_care import COMMANDS as CARE
from automator67.engine.cli.bucket_copy import command as copy_command
from automator67.engine.cli.checkout import repo_option
from automator67.engine.cli.common import json_option, print_json, state_option, table
from automator67.engine.cli.places import Inside, inside
from automator67.engine.cli.storage import declared, in_bucket
from automator67.schemas.units import human_bytes

if TYPE_CHECKING:
    from automator67.engine.buckets.bucket import Bucket
    from automator67.engine.buckets.records import Version

PAGE = 1000


@click.group("bucket", short_help="List, copy, delete and restore the files of buckets.")
def command() -> None:
    """Work with the files of buckets, on the machine of the engine. BUCKET:NAME is a file in a bucket."""


@command.command("list", short_help="The buckets that are declared.")
@repo_option
@state_option
@json_option
def list_command(repo: Path, state: Path, as_json: bool) -> None:
    """List the buckets of the configuration."""
    found = declared(repo, state).rules.values()
    data = [
        {"bucket": r.name, "providers": [s.node for s in r.providers], "replicas": r.replicas, "quota": r.quota,
         "versions": r.versions, "access": [a.id for a in r.access]}
        for r in found
    ]  # fmt: skip
    if as_json:
        print_json(data)
    elif not data:
        click.echo("no buckets are declared; the first one begins in buckets/NAME.yaml")
    else:
        rows = [(r.name, r.replicas, ", ".join(s.node for s in r.providers), _limit(r.quota)) for r in found]
        click.echo(table(("BUCKET", "REPLICAS", "PROVIDERS", "QUOTA"), rows))


@command.command("ls", short_help="The files of a bucket.")
@click.argument("place", metavar="BUCKET[:PREFIX]")
@click.option("--recursive", "-r", is_flag=True, help="Also what is below folders.")
@click.option("--versions", is_flag=True, help="Every version, deleted ones too; implies --recursive.")
@repo_option
@state_option
@json_option
def ls_command(place: str, recursive: bool, versions: bool, repo: Path, state: Path, as_json: bool) -> None:
    """List files whose names begin with PREFIX; folders end with a slash."""
    where = inside(place)

    async def show(bucket: Bucket) -> None:
        if versions:
            entries = [_entry(v) async for v in _all_versions(bucket, where.key)]
        else:
            entries = [e async for e in _present(bucket, where.key, "" if recursive else "/")]
        if as_json:
            print_json(entries)
            return
        for e in entries:
            if "prefix" in e:
                click.echo(f"{'':>10}  {'':19}  {e['prefix']}")
                continue
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(e["created"]))
            extra = f"  {e['version']} {e['state']}" if versions else ""
            click.echo(f"{human_bytes(e['size']):>10}  {at}  {e['name']}{extra}")

    in_bucket(declared(repo, state), where.bucket, show)


async def _present(bucket: Bucket, prefix: str, delimiter: str) -> AsyncIterator[dict[str, Any]]:
    after = ""
    while True:
        page = await bucket.list(prefix, delimiter, after, PAGE)
        named = [(p, {"prefix": p}) for p in page.prefixes] + [(v.key, _entry(v)) for v in page.versions]
        for _, entry in sorted(named, key=lambda n: n[0]):
            yield entry
        after = page.next
        if not after:
            return


async def _all_versions(bucket: Bucket, prefix: str) -> AsyncIterator[Version]:
    after: tuple[str, int] | None = None
    while found := await bucket.versions(prefix, after, PAGE, deleted=True):
        for version in found:
            yield version
        after = (found[-1].key, found[-1].order)


def _entry(v: Version) -> dict[str, Any]:
    gone = v.deleted_at is not None
    word = "deleted" if gone else "deletion" if v.marker else "present" if v.latest else "replaced"
    return {
        "name": v.key, "version": v.id, "size": v.size, "created": v.created, "state": word,
        "type": v.about.content_type, "etag": v.etag,
    }  # fmt: skip


@command.command("rm", short_help="Delete files; they can be restored for a while.")
@click.argument("place", metavar="BUCKET:NAME")
@click.option("--recursive", "-r", is_flag=True, help="Everything whose name begins with NAME.")
@click.option("--version", "version_id", default=None, help="Only this version of the file.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@repo_option
@state_option
def rm_command(
    place: str, recursive: bool, version_id: str | None, dry_run: bool, repo: Path, state: Path
) -> None:  # fmt: skip
    """Delete a file, or all files below a prefix. Within keep_deleted they can be restored."""
    where = inside(place)

    async def delete(bucket: Bucket) -> int:
        from automator67.engine.buckets.files import all_below

        found = [v.key async for v in all_below(bucket, where.key)] if recursive else [_named(where)]
        done = 0
        for key in found:
            if dry_run:
                await bucket.head(key, version_id)
                click.echo(f"would delete {key}")
                continue
            if await bucket.delete(key, version_id) is None:
                raise click.ClickException(f"there is no {key} in bucket {bucket.name}")
            done += 1
        return done

    of = declared(repo, state)
    count = in_bucket(of, where.bucket, delete)
    if not dry_run:
        days = of.rules_of(where.bucket).keep_deleted / 86400
        click.echo(f"deleted {count}; automator67 bucket restore brings them back within {days:g} days")


@command.command("restore", short_help="Bring deleted files back.")
@click.argument("place", metavar="BUCKET:NAME")
@click.option("--recursive", "-r", is_flag=True, help="Every deleted file whose name begins with NAME.")
@click.option("--version", "version_id", default=None, help="Make this version the present one.")
@click.option("--dry-run", is_flag=True, help="Only say what would be restored.")
@repo_option
@state_option
def restore_command(
    place: str, recursive: bool, version_id: str | None, dry_run: bool, repo: Path, state: Path
) -> None:  # fmt: skip
    """Make what was deleted, or an older version, the present one again."""
    where = inside(place)

    async def restore(bucket: Bucket) -> int:
        if recursive:
            versions = [v async for v in _all_versions(bucket, where.key)]
            there = {v.key for v in versions if v.latest and not v.marker and v.deleted_at is None}
            names = sorted({v.key for v in versions if not v.marker} - there)
        else:
            names = [_named(where)]
        for key in names:
            if not dry_run:
                await bucket.restore(key, version_id)
            click.echo(f"{'would restore' if dry_run else 'restored'} {key}")
        return len(names)

    if not in_bucket(declared(repo, state), where.bucket, restore):
        click.echo("nothing below that name was deleted")


@command.command("du", short_help="How much buckets hold, and where.")
@click.argument("names", metavar="[BUCKET]...", nargs=-1)
@repo_option
@state_option
@json_option
def du_command(names: tuple[str, ...], repo: Path, state: Path, as_json: bool) -> None:
    """Show what buckets hold: files, bytes of all versions, and what that takes at each provider."""
    from automator67.engine.buckets.totals import totals

    async def measure(bucket: Bucket) -> dict[str, Any]:
        return totals(bucket.ledger.reader) | {"bucket": bucket.name, "quota": bucket.rules.quota}

    of = declared(repo, state)
    data = [in_bucket(of, name, measure) for name in names or of.rules]
    if as_json:
        print_json(data)
        return
    for d in data:
        quota = f" of {human_bytes(d['quota'])}" if d["quota"] else ""
        click.echo(f"{d['bucket']}: {d['files']} files, {human_bytes(d['bytes'])}{quota} in {d['versions']} versions")
        rows = [(p, human_bytes(b), d["copies"].get(p, 0), d["bad"].get(p, 0)) for p, b in sorted(d["held"].items())]
        if rows:
            click.echo(table(("PROVIDER", "HOLDS", "BLOBS", "BAD"), rows))


@command.command("mount-info", short_help="How other programs get at a bucket.")
@click.argument("name", metavar="BUCKET")
@click.option("--endpoint", default="http://127.0.0.1:9067", show_default=True, help="Where automator67 s3 listens.")
@repo_option
@state_option
def mount_command(name: str, endpoint: str, repo: Path, state: Path) -> None:
    """Print how rclone mounts a bucket and how other clients of S3 reach it."""
    rules = declared(repo, state).rules_of(name)
    if not rules.access:
        raise click.ClickException(f"bucket {name} has no access key: add access to buckets/{name}.yaml")
    access = rules.access[0]
    click.echo(
        f"# automator67 s3 must run; the secret key is what was sealed as {access.secret}\n"
        f"[{name}]\ntype = s3\nprovider = Other\nendpoint = {endpoint}\naccess_key_id = {access.id}\n"
        f"secret_access_key = ...\n\n# in rclone.conf, then:\n"
        f"#   rclone mount {name}:{name}/{access.prefix} /mnt/{name} --vfs-cache-mode writes\n"
        f"# aws --endpoint-url {endpoint} s3 ls s3://{name}/{access.prefix}\n"
        f"# restic -r s3:{endpoint}/{name}/{access.prefix}restic init"
    )


def _named(where: Inside) -> str:
    if not where.key:
        raise click.ClickException(f"name a file: {where.bucket}:NAME, or everything with --recursive")
    return where.key


def _limit(size: int | None) -> str:
    return human_bytes(size) if size is not None else "none"


for _more in (copy_command, *CARE):
    command.add_command(_more)
