"""When jobs are due by the clock. Pure but for the machine's time zone data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from automator67.engine.desired import Desired
from automator67.engine.jobs import DEPLOY, Job, Moment, Runs
from automator67.engine.observed import Revision
from automator67.schemas.cron_times import first_after, shown

_SPANS = (60.0, 3600.0, 86400.0, 31 * 86400.0, 366 * 86400.0)
"""How far to look back for the last time that has come: first where most schedules have one."""


def moments(desired: Desired, deployed: Mapping[str, Revision], runs: Runs, now: float) -> dict[str, Moment]:
    """Return by job the last time that has come and that no run was for yet, and the next one."""
    found = {}
    for name, app in desired.apps.items():
        if app.job is not None and app.job.cron != DEPLOY and name in deployed:
            # A new schedule says nothing of the time before it was written.
            since = deployed[name].asked_at
            last = max([since, *(r.due_at for r in runs.of(name) if r.kind == "schedule")])
            at, next_at = 0.0, next_time(app.job, last)
            if 0 < next_at <= now:
                at = last_time(app.job, last, now)
                next_at = next_time(app.job, max(at, last))
            found[name] = Moment(at, next_at, shown(at, app.job.timezone) if at else "")
    return found


@lru_cache(maxsize=1024)
def next_time(job: Job, now: float) -> float:
    """Return when a job is due next, 0 when no time says so."""
    return 0.0 if job.cron == DEPLOY else first_after(job.cron, job.timezone, now) or 0.0


def last_time(job: Job, after: float, now: float) -> float:
    """Return the last time of a schedule that is later than ``after`` and has come at ``now``; 0 when there is none."""
    for span in (*_SPANS, now):
        found = first_after(job.cron, job.timezone, max(after, now - span))
        if found is None:
            return 0.0
        if found <= now:
            last = found
            while (found := first_after(job.cron, job.timezone, last)) is not None and found <= now:
                last = found
            return last
        if now - span <= after:
            return 0.0
    return 0.0
