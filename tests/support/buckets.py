"""A bucket over directories of this machine, for tests."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.opening import open_bucket
from automator67.engine.buckets.records import Version
from automator67.engine.buckets.rules import rules_of

KEY = base64.b64encode(b"a key for tests, of 32 bytes ...")


async def bucket_at(folder: Path, providers: int = 2, *, key: bytes = KEY, **rules: Any) -> Bucket:
    """Open the bucket ``photos`` whose providers p0, p1, ... and whose metadata are below ``folder``."""
    names = [f"p{n}" for n in range(providers)]
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    document = {"providers": names, "key": {"secret": "photos-key"}, "chunk": 100_000, **rules}
    nodes = {name: {"kind": "local", "bucket": str(folder / name)} for name in names}
    return await open_bucket(rules_of("photos", document), nodes, lambda _: key, folder / "state")


async def stream(data: bytes, piece: int = 65_536) -> AsyncIterator[bytes]:
    """Yield ``data`` in pieces."""
    for start in range(0, len(data), piece):
        yield data[start : start + piece]


async def content(bucket: Bucket, version: Version, start: int = 0, end: int | None = None) -> bytes:
    """Return the bytes of a version."""
    return b"".join([piece async for piece in bucket.read(version, start, end)])


def blobs(folder: Path) -> list[Path]:
    """Return the files that providers below ``folder`` hold, markers aside."""
    return sorted(f for f in folder.glob("p*/photos/**/*") if f.is_file() and f.name != "marker")
