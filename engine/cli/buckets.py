"""What the commands about buckets share: which there are, and opening one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.errors import BucketError
from automator67.engine.buckets.opening import open_bucket
from automator67.engine.buckets.rules import Rules, rules_of
from automator67.engine.cli.checkout import documents, vault_of
from automator67.schemas.near import near_hint

_T = TypeVar("_T")


def bucket_rules(repo: Path, name: str) -> Rules:
    """Return what buckets/NAME.yaml in ``repo`` says. Raises click.ClickException."""
    found = {d.name: d for d, _ in documents(repo).values() if d.kind == "bucket"}
    if name not in found:
        raise click.ClickException(f"there is no {repo / 'buckets' / name}.yaml{near_hint(name, found)}")
    value = found[name].value
    if value is None:
        raise click.ClickException(str(found[name].problems[0]))
    return rules_of(name, value)


async def opened(repo: Path, state: Path, name: str) -> Bucket:
    """Open a bucket that a copy of the config repository declares. Raises click.ClickException."""
    from automator67.engine.secrets.errors import SecretError

    files = documents(repo)
    nodes = {d.name: d.value for d, _ in files.values() if d.kind == "node" and d.value is not None}
    vault = vault_of(repo, files, state)
    try:
        return await open_bucket(bucket_rules(repo, name), nodes, vault.value, state)
    except (BucketError, SecretError) as error:
        raise click.ClickException(str(error)) from error


def with_bucket(repo: Path, state: Path, name: str, work: Callable[[Bucket], Awaitable[_T]]) -> _T:
    """Open a bucket, have something done with it, and close it. Raises click.ClickException."""

    async def run() -> _T:
        bucket = await opened(repo, state, name)
        try:
            return await work(bucket)
        except BucketError as error:
            raise click.ClickException(str(error)) from error
        finally:
            await bucket.close()

    return asyncio.run(run())
