"""When a job is due, and what becomes of it then: run, skip, wait, replace. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from automator67.engine.jobs import DEPLOY, Job, Moment, Run

LATE_SECONDS = 60.0
"""A run that begins later than this after its time has missed it."""


@dataclass(frozen=True, slots=True)
class Due:
    """What to do for the time ``at`` (0: nothing is due), and why; ``next_at``: when to look again (0: never).

    ``replace``: the run under way is stopped first. ``wait``: the run comes when the one under way has ended.
    """

    what: Literal["nothing", "run", "skip", "wait", "replace"]
    reason: str = ""
    at: float = 0.0
    next_at: float = 0.0


def due(job: Job, rev: str, runs: Sequence[Run], moment: Moment | None, now: float) -> Due:
    """Return what is due at ``now`` for a job whose runs (the newest first) are known."""
    active = next((r for r in runs if not r.over), None)
    if job.cron == DEPLOY:
        if any(r.kind == "deploy" and r.rev == rev for r in runs):
            return Due("nothing")
        return _overlapping(job, active, Due("run", f"revision {rev} is new", now))
    if moment is None or not moment.at:
        return Due("nothing", next_at=moment.next_at if moment else 0.0)
    at, next_at = moment.at, moment.next_at
    late = now - at > LATE_SECONDS
    # Whoever waited in the queue is late without having missed anything.
    queued = job.overlap == "queue" and any(r.ended_at > at for r in runs if r.over)
    if late and not queued and job.missed == "skip":
        return Due("skip", f"{moment.text} was missed", at, next_at)
    missed = ", which was missed" if late and not queued else ""
    return _overlapping(job, active, Due("run", f"it is due at {moment.text}{missed}", at, next_at))


def _overlapping(job: Job, active: Run | None, wanted: Due) -> Due:
    if active is None:
        return wanted
    under_way = f"run {active.number} has not ended"
    if job.overlap == "skip" and job.cron != DEPLOY:
        return Due("skip", f"{wanted.reason}; {under_way}", wanted.at, wanted.next_at)
    if job.overlap == "replace":
        return Due("replace", f"{wanted.reason}, in place of run {active.number}", wanted.at, wanted.next_at)
    return Due("wait", f"{wanted.reason}; {under_way}", wanted.at, wanted.next_at)
