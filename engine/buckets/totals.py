"""What a bucket holds, counted in its metadata."""

from __future__ import annotations

import sqlite3
from typing import TypedDict


class Totals(TypedDict):
    """``held``, ``copies``, ``bad``: by provider bytes, blobs and those known to be bad or missing there."""

    files: int
    versions: int
    bytes: int
    held: dict[str, int]
    copies: dict[str, int]
    bad: dict[str, int]


def totals(db: sqlite3.Connection) -> Totals:
    """Return what there is."""
    files, versions, size = db.execute(
        "SELECT coalesce(sum(latest AND NOT marker AND deleted_at IS NULL), 0), coalesce(sum(NOT marker), 0),"
        " coalesce(sum(size), 0) FROM versions"
    ).fetchone()
    counted = list(db.execute("SELECT provider, count(*), sum(bad) FROM copies GROUP BY provider"))
    return Totals(
        files=files, versions=versions, bytes=size,
        held=dict(db.execute("SELECT provider, bytes FROM totals WHERE bytes > 0")),
        copies={p: n for p, n, _ in counted}, bad={p: b for p, _, b in counted if b},
    )  # fmt: skip
