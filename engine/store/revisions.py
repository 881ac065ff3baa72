"""The revisions of an app that are kept: what ran, when, and which commit asked for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select

from automator67.engine.store.tables import holds, revisions


@dataclass(frozen=True, slots=True)
class Kept:
    """A revision that can be gone back to.

    ``path`` and ``blob``: its file and that file's content; ``secrets``: (path, blob) of each secret it used.
    ``asked_at``: when a commit last asked for it, ``healthy_at``: when it was last found healthy (0: never);
    ``held``: why it is not tried again.
    """

    rev: str
    commit: str
    path: str
    blob: str
    secrets: tuple[tuple[str, str], ...]
    first_at: float
    asked_at: float
    healthy_at: float
    held: str = ""


def kept_revisions(tx: Connection, app: str) -> list[Kept]:
    """Return the revisions of an app, the one that was asked for last first."""
    held = {row.rev: row.reason for row in tx.execute(select(holds).where(holds.c.app == app))}
    rows = tx.execute(select(revisions).where(revisions.c.app == app).order_by(revisions.c.asked_at.desc()))
    found = []
    for row in rows:
        spec = json.loads(row.spec)
        secrets = tuple((s["path"], s["blob"]) for s in spec.get("secrets", ()))
        path, blob = spec["origin"]
        one = Kept(row.rev, row.commit_id, path, blob, secrets, row.first_at, row.asked_at, row.healthy_at)
        found.append(replace(one, held=held.get(row.rev, "")))
    return found
