"""``automator67 bucket cp``: files into a bucket and out of it."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from automator67.engine.cli.checkout import repo_option
from automator67.engine.cli.common import state_option
from automator67.engine.cli.places import Inside, maybe_inside
from automator67.engine.cli.progress import Progress
from automator67.engine.cli.storage import declared, in_bucket

if TYPE_CHECKING:
    from automator67.engine.buckets.bucket import Bucket

AT_ONCE = 4


@click.command("cp", short_help="Copy files into a bucket, or out of it.")
@click.argument("source")
@click.argument("target")
@click.option("--recursive", "-r", is_flag=True, help="A whole folder.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
@click.option("--dry-run", is_flag=True, help="Only say what would be copied.")
@repo_option
@state_option
def command(
    source: str, target: str, recursive: bool, quiet: bool, dry_run: bool, repo: Path, state: Path
) -> None:  # fmt: skip
    """Copy SOURCE to TARGET: one is a file here or - (standard input or output), the other BUCKET:NAME.

    What was interrupted goes on where it was when it is asked for again. With -r, files that are there already with the
    same size and time are left out.
    """
    there, here = maybe_inside(source), maybe_inside(target)
    if (there is None) == (here is None):
        raise click.ClickException("one of SOURCE and TARGET must be in a bucket, as BUCKET:NAME, and one a file here")
    of = declared(repo, state)
    progress = Progress(quiet or not sys.stderr.isatty())
    if here is not None:
        upload = here
        in_bucket(of, here.bucket, lambda b: _into(b, source, upload, recursive, dry_run, progress))
    elif there is not None:
        download = there
        in_bucket(of, there.bucket, lambda b: _out(b, download, target, recursive, dry_run, progress))
    progress.end(dry_run)


async def _into(
    bucket: Bucket, source: str, target: Inside, recursive: bool, dry_run: bool, progress: Progress
) -> None:  # fmt: skip
    from automator67.engine.buckets import files

    if source == "-":
        if not target.key:
            raise click.ClickException(f"name the file: {target.bucket}:NAME")
        if not dry_run:
            await files.take_stream(bucket, target.key, sys.stdin.buffer, progress.moved)
        progress.done("standard input", str(target))
        return
    path = Path(source)
    if recursive:
        found = files.tree(path, target.key)
    elif path.is_dir():
        raise click.ClickException(f"{source} is a folder: copy it with -r")
    else:
        whole = target.key + path.name if not target.key or target.key.endswith("/") else target.key
        found = [(path, whole)]
    for file, key in found:
        if recursive and await files.is_there(bucket, file, key):
            progress.skipped += 1
            continue
        if not dry_run:
            await files.upload(bucket, file, key, progress.moved)
        progress.done(str(file), f"{target.bucket}:{key}")


async def _out(
    bucket: Bucket, source: Inside, target: str, recursive: bool, dry_run: bool, progress: Progress
) -> None:  # fmt: skip
    from automator67.engine.buckets import files

    if target == "-":
        async for piece in bucket.read(await bucket.head(source.key)):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    if not recursive:
        version, path = await bucket.head(source.key), Path(target)
        if path.is_dir():
            path /= PurePosixPath(source.key).name
        if not dry_run:
            await files.download(bucket, version, path, progress.moved)
        progress.done(str(source), str(path))
        return
    unfit = []
    async for version in files.all_below(bucket, source.key):
        below = files.path_below(Path(target), version.key.removeprefix(source.key.rpartition("/")[0]))
        if below is None:
            unfit.append(version.key)
        elif files.is_here(version, below):
            progress.skipped += 1
        else:
            if not dry_run:
                await files.download(bucket, version, below, progress.moved)
            progress.done(f"{bucket.name}:{version.key}", str(below))
    if unfit:
        more = f" and {len(unfit) - 1} more" if len(unfit) > 1 else ""
        raise click.ClickException(f"{unfit[0]!r}{more} cannot be names of files here; copy them one by one")
