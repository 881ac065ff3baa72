"""Reads from a bucket's metadata how it stands, without opening the bucket: no key and no provider is needed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from automator67.engine.bucket_facts import BucketFacts
from automator67.engine.buckets.blobs import NEEDED
from automator67.engine.buckets.rules import Rules
from automator67.engine.buckets.totals import totals

_COPIES = (
    "SELECT coalesce(sum(good < ?), 0), coalesce(sum(good = 0), 0) FROM (SELECT (SELECT count(*) FROM copies c"  # noqa: S608
    f" WHERE c.blob = blobs.id AND NOT c.bad AND c.provider IN ({{}})) good FROM blobs WHERE {NEEDED})"
)


def condition(state: Path, rules: Rules) -> BucketFacts | None:
    """Return how a bucket stands; None where it was never used. Raises sqlite3.Error.

    Copies at providers that are declared no more do not count: they go when the bucket is repaired.
    """
    path = state / "buckets" / rules.name / "meta.db"
    if not path.exists():
        return None
    names = [share.node for share in rules.providers]
    db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)
    try:
        found = totals(db)
        marks = ", ".join("?" * len(names))
        short, lost = db.execute(_COPIES.format(marks), (rules.replicas, *names)).fetchone()
    finally:
        db.close()
    held = tuple(sorted(found["held"].items()))
    return BucketFacts(rules.name, found["files"], found["bytes"], short, lost, held, rules.quota or 0)
