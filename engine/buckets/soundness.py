"""Whether a blob is what was written: opened with the keys, and as long as it should be."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from automator67.engine.buckets.commit import open_batch
from automator67.engine.buckets.errors import Corrupt
from automator67.engine.buckets.keys import Keys
from automator67.engine.buckets.layout import Layout

_CHUNKS = (
    "SELECT c.content, c.n, c.off, c.len, k.size, k.cut, k.key FROM chunks c JOIN contents k ON k.id = c.content"
    " WHERE c.blob = (SELECT id FROM blobs WHERE name = ?)"
)


def checker(db: sqlite3.Connection, keys: Keys, layout: Layout, name: str, size: int) -> Callable[[bytes], None]:
    """Return what raises Corrupt for bytes that are not the blob of that name. It may be called beside the loop."""
    chunks = db.execute(_CHUNKS, (name,)).fetchall()

    def check(data: bytes) -> None:
        if len(data) != size:
            raise Corrupt(f"{name} has {len(data)} bytes instead of {size}")
        if name.startswith(layout.log):
            open_batch(keys, name, data)
        for content, n, offset, length, whole, cut, wrapped in chunks:
            id_ = content.hex()
            last = (n + 1) * cut >= whole
            keys.open_chunk(id_, keys.unwrap(id_, wrapped), n, last, data[offset : offset + length])

    return check
