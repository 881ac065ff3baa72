"""Commits the engine has looked at: what was planned for each, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, func, insert, select, update

from automator67.engine.store.tables import commits

CommitState = Literal["pending", "applying", "applied", "failed", "invalid", "superseded"]
FINAL: frozenset[str] = frozenset({"applied", "failed", "invalid", "superseded"})


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """A commit and what became of it. Times are seconds since the epoch; ``plan`` is the plan first made for it."""

    id: str
    seq: int
    author: str
    subject: str
    committed_at: float
    seen_at: float
    state: CommitState
    finished_at: float | None
    summary: str
    problems: Sequence[Mapping[str, Any]]
    plan: Mapping[str, Any]


def see_commit(tx: Connection, commit: str, author: str, subject: str, committed_at: float, now: float) -> None:
    """Record a commit as the newest one; earlier ones that are not finished are superseded."""
    tx.execute(
        update(commits)
        .where(commits.c.id != commit, commits.c.state.in_(("pending", "applying")))
        .values(state="superseded", finished_at=now, summary="a newer commit took over")
    )
    seq = (tx.scalar(select(func.max(commits.c.seq))) or 0) + 1
    fresh: dict[str, Any] = {"seq": seq, "seen_at": now, "state": "pending", "finished_at": None}
    fresh |= {"summary": "", "problems": "[]", "plan": "{}"}
    if tx.execute(update(commits).where(commits.c.id == commit).values(**fresh)).rowcount == 0:
        tx.execute(
            insert(commits).values(id=commit, author=author, subject=subject, committed_at=committed_at, **fresh)
        )


def set_commit(
    tx: Connection,
    commit: str,
    state: CommitState,
    summary: str,
    now: float,
    *,
    problems: Sequence[Mapping[str, Any]] | None = None,
    plan: Mapping[str, Any] | None = None,
) -> None:
    """Record a commit's state; nothing is written when nothing changed."""
    values: dict[str, Any] = {"state": state, "summary": summary}
    if problems is not None:
        values["problems"] = json.dumps(problems)
    if plan is not None:
        values["plan"] = json.dumps(plan)
    row = tx.execute(select(commits).where(commits.c.id == commit)).one_or_none()
    if row is None or all(row._mapping[key] == value for key, value in values.items()):
        return
    if state != row.state:
        values["finished_at"] = now if state in FINAL else None
    tx.execute(update(commits).where(commits.c.id == commit).values(**values))


def recent_commits(tx: Connection, limit: int = 20) -> list[CommitRecord]:
    """Return the newest commits, newest first."""
    rows = tx.execute(select(commits).order_by(commits.c.seq.desc()).limit(limit))
    return [_record(row) for row in rows]


def find_commit(tx: Connection, prefix: str) -> CommitRecord | None:
    """Return the newest commit whose id starts with ``prefix``, or None."""
    where = commits.c.id.startswith(prefix, autoescape=True)
    row = tx.execute(select(commits).where(where).order_by(commits.c.seq.desc()).limit(1)).one_or_none()
    return _record(row) if row else None


def _record(row: Any) -> CommitRecord:
    values = {key: row._mapping[key] for key in CommitRecord.__slots__}
    values |= {"problems": json.loads(row.problems), "plan": json.loads(row.plan)}
    return CommitRecord(**values)
