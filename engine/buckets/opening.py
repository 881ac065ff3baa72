"""Opens a bucket as it is declared: its providers with their credentials, its key, its metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from automator67.engine.buckets import blobs
from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.errors import BucketError, KeyProblem, Unavailable
from automator67.engine.buckets.fleet import Fleet, Member
from automator67.engine.buckets.keys import Keys, read_ring
from automator67.engine.buckets.layout import Layout
from automator67.engine.buckets.ledger import Ledger, set_meta
from automator67.engine.buckets.providers.directory import Directory
from automator67.engine.buckets.providers.protocol import Provider, ProviderError
from automator67.engine.buckets.rules import Rules
from automator67.schemas.units import size_bytes

Secret = Callable[[str], bytes]
"""Gives the value of a secret by its name."""


class OpenError(BucketError):
    """The bucket, or a provider of it, is declared in a way that cannot be opened here."""


async def open_bucket(rules: Rules, nodes: Mapping[str, Mapping[str, Any]], secret: Secret, state: Path) -> Bucket:
    """Return a bucket, ready to be used. ``nodes``: the nodes' documents by name; ``state``: the engine's directory.

    The first time it marks the providers as the bucket's. Raises BucketError, and what ``secret`` raises.
    """
    if not rules.key:
        raise KeyProblem(
            f"bucket {rules.name} has no key; make one: openssl rand -base64 32 | automator67 seal {rules.name}-key, "
            f"and write  key: {{secret: {rules.name}-key}}  in buckets/{rules.name}.yaml"
        )
    ring = read_ring(secret(rules.key), rules.name)
    ledger = Ledger(state / "buckets" / rules.name)
    try:
        fleet = Fleet(members_of(rules, nodes, secret), rules.replicas, lambda: blobs.used(ledger.reader))
        found = ledger.meta("id")
        id_ = bytes.fromhex(str(found)) if found else await _claim(ledger, fleet, Layout(rules.name))
        return Bucket(rules, ledger, fleet, Keys(id_, ring))
    except BaseException:
        ledger.close()
        raise


def members_of(rules: Rules, nodes: Mapping[str, Mapping[str, Any]], secret: Secret) -> dict[str, Member]:
    """Return the providers of a bucket, unopened connections and all. Raises OpenError."""
    members = {}
    for share in rules.providers:
        node = nodes.get(share.node)
        if node is None:
            raise OpenError(
                f"bucket {rules.name}: there is no node {share.node}; declare it in nodes/{share.node}.yaml"
            )
        quota = share.quota
        if quota is None and "storage" in node.get("quota", {}):
            quota = size_bytes(node["quota"]["storage"])
        members[share.node] = Member(
            provider_of(share.node, node, secret), share.weight, quota, bool(node.get("drain"))
        )
    return members


def provider_of(name: str, node: Mapping[str, Any], secret: Secret) -> Provider:
    """Return the provider that a node of a storage kind is. Raises OpenError."""
    kind = node.get("kind", "agent")
    if kind == "local":
        if "bucket" not in node:
            raise OpenError(f"nodes/{name}.yaml: kind local needs the directory, as  bucket: /srv/files")
        return Directory(name, Path(node["bucket"]))
    from automator67.engine.buckets.providers.objects import REGIONS, Objects

    if kind not in REGIONS:
        raise OpenError(f"nodes/{name}.yaml: this version keeps no files at nodes of kind {kind}; it does at {_KINDS}")
    missing = [key for key in ("endpoint", "bucket", "access_key", "secret_key") if key not in node]
    if missing:
        raise OpenError(f"nodes/{name}.yaml: kind {kind} needs {', '.join(missing)}")
    bucket, _, prefix = str(node["bucket"]).partition("/")
    key, value = (secret(node[k]["secret"]).decode().strip() for k in ("access_key", "secret_key"))
    return Objects(name, node["endpoint"], bucket, key, value, node.get("region", REGIONS[kind]), prefix)


_KINDS = "local, s3, r2, b2 and supabase"


async def read_marker(fleet: Fleet, layout: Layout) -> bytes | None:
    """Return the id of the bucket that the providers hold; None when none of them holds any.

    Raises Unavailable when one does not answer and no other knows, OpenError when they hold different ones.
    """
    ids: dict[bytes, str] = {}
    away = []
    for name, member in fleet.members.items():
        try:
            marker = json.loads(await member.provider.get(layout.marker))
            ids[bytes.fromhex(marker["id"])] = name
        except ProviderError as error:
            if error.kind != "missing":
                away.append(str(error))
        except (ValueError, KeyError, TypeError):
            raise OpenError(f"{name}: {layout.marker} is there, and is no marker of a bucket") from None
    if len(ids) > 1:
        raise OpenError(f"the providers {', '.join(ids.values())} hold different buckets of the name {layout.bucket}")
    if not ids and away:
        raise Unavailable(f"it cannot be seen whether the bucket exists: {'; '.join(away)}")
    return next(iter(ids), None)


async def _claim(ledger: Ledger, fleet: Fleet, layout: Layout) -> bytes:
    """Mark the providers as those of a new bucket. Raises OpenError where they are those of one already."""
    async with ledger.writing():
        if known := ledger.meta("id"):
            return bytes.fromhex(str(known))
        claimed = ledger.meta("claim")
        if not claimed and await read_marker(fleet, layout) is not None:
            raise OpenError(
                f"the providers hold a bucket {layout.bucket} of which this machine has no metadata: "
                f"automator67 bucket rebuild {layout.bucket} makes them anew"
            )
        id_ = bytes.fromhex(str(claimed)) if claimed else os.urandom(16)
        await ledger.write(lambda tx: set_meta(tx, "claim", id_.hex()))
        await mark(fleet, layout, id_)
        await ledger.write(lambda tx: set_meta(tx, "id", id_.hex()))
        return id_


async def mark(fleet: Fleet, layout: Layout, id_: bytes) -> None:
    """Write the marker to every provider. Raises Unavailable when one does not take it."""
    text = json.dumps({"format": 1, "bucket": layout.bucket, "id": id_.hex()}).encode()
    for member in fleet.members.values():
        try:
            await member.provider.put(layout.marker, text)
        except ProviderError as error:
            raise Unavailable(f"a new bucket needs all its providers: {error}") from error
