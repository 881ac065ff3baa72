"""Buckets as the person's copy of the config repository declares them, for the commands that use their files."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from automator67.engine.buckets.rules import Rules, rules_of
from automator67.engine.cli.checkout import documents, vault_of
from automator67.schemas.near import near_hint

if TYPE_CHECKING:
    from automator67.engine.buckets.bucket import Bucket
    from automator67.engine.secrets.vault import Vault

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Declared:
    """The buckets of a configuration, the documents of its nodes by name, and its secrets."""

    rules: dict[str, Rules]
    nodes: dict[str, dict[str, Any]]
    vault: Vault
    state: Path

    def secret(self, name: str) -> bytes:
        """Return the value of a secret. Raises click.ClickException."""
        from automator67.engine.secrets.errors import SecretError

        try:
            return self.vault.value(name)
        except SecretError as error:
            raise click.ClickException(f"{error} (state directory {self.state})") from error

    def rules_of(self, name: str) -> Rules:
        """Return a bucket. Raises click.ClickException."""
        if name not in self.rules:
            raise click.ClickException(f"there is no buckets/{name}.yaml{near_hint(name, self.rules)}")
        return self.rules[name]

    async def open(self, name: str) -> Bucket:
        """Open a bucket. Raises click.ClickException and BucketError."""
        from automator67.engine.buckets.opening import open_bucket

        return await open_bucket(self.rules_of(name), self.nodes, self.secret, self.state)


def declared(repo: Path, state: Path) -> Declared:
    """Return what ``repo`` declares. Raises click.ClickException when a file of buckets or nodes is not valid."""
    files = documents(repo)
    rules: dict[str, Rules] = {}
    nodes: dict[str, dict[str, Any]] = {}
    for document, _ in files.values():
        if document.kind not in ("bucket", "node"):
            continue
        if document.value is None:
            raise click.ClickException(str(document.problems[0]))
        if document.kind == "bucket":
            rules[document.name] = rules_of(document.name, document.value)
        else:
            nodes[document.name] = document.value
    return Declared(rules, nodes, vault_of(repo, files, state), state)


def in_bucket(of: Declared, name: str, work: Callable[[Bucket], Coroutine[Any, Any, _T]]) -> _T:
    """Run ``work`` with an open bucket. Raises click.ClickException."""
    import uvloop

    from automator67.engine.buckets.errors import BucketError

    async def run() -> _T:
        bucket = await of.open(name)
        try:
            return await work(bucket)
        finally:
            await bucket.close()

    try:
        return uvloop.run(run())
    except BucketError as error:
        raise click.ClickException(str(error)) from error
