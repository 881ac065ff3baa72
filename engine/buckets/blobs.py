"""What the metadata know of blobs at the providers: intents before they are written, and where they are afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from automator67.engine.buckets.errors import Unavailable

NEEDED = "state = 'live' AND (live > 0 OR name NOT LIKE '%/chunks/%')"
"""In SQL: a blob that something refers to, or a batch of the log, from which all is made anew."""


def intend(tx: sqlite3.Connection, names: Iterable[str], sizes: int, session: str, now: float) -> None:
    """Note that blobs are about to be written; whoever dies meanwhile, the collector finds what became of them."""
    tx.executemany("INSERT INTO blobs (name, size, state, at, session) VALUES (?, ?, 'intent', ?, ?)",
                   [(name, sizes, now, session) for name in names])  # fmt: skip


def unintend(tx: sqlite3.Connection, names: Iterable[str]) -> None:
    """Take intents back for blobs that were not even begun."""
    tx.executemany("DELETE FROM blobs WHERE name = ? AND state = 'intent'", [(name,) for name in names])


def written(tx: sqlite3.Connection, name: str, size: int, providers: Iterable[str]) -> None:
    """Note where a blob is. Raises Unavailable when the collector took it for abandoned meanwhile."""
    row = tx.execute("SELECT id FROM blobs WHERE name = ? AND state IN ('intent', 'live')", (name,)).fetchone()
    if row is None:
        raise Unavailable("the upload lasted so long that it was taken for abandoned; try again")
    tx.execute("UPDATE blobs SET size = ? WHERE id = ?", (size, row[0]))
    tx.executemany("INSERT OR IGNORE INTO copies (blob, provider) VALUES (?, ?)", [(row[0], p) for p in providers])


def usable(tx: sqlite3.Connection, names: Iterable[str]) -> bool:
    """Return whether blobs may be referred to: none was given up."""
    return all(
        tx.execute("SELECT 1 FROM blobs WHERE name = ? AND state IN ('intent', 'live')", (name,)).fetchone()
        for name in names
    )


def mark_bad(tx: sqlite3.Connection, name: str, provider: str) -> None:
    """Note that a copy is corrupt or missing."""
    tx.execute("UPDATE copies SET bad = 1 WHERE provider = ? AND blob = (SELECT id FROM blobs WHERE name = ?)",
               (provider, name))  # fmt: skip


def used(db: sqlite3.Connection) -> Mapping[str, int]:
    """Return how many bytes of the bucket each provider holds."""
    return dict(db.execute("SELECT provider, bytes FROM totals"))
