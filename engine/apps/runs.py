"""How the runs of an app stand: which have ended, and how; which must end. Pure."""

from __future__ import annotations

from dataclasses import replace

from automator67.engine.copies import Copy
from automator67.engine.jobs import Run, State
from automator67.schemas.units import human_seconds

KEPT = 3
"""So many runs of an app that are over stay on their nodes, with their logs."""


def ended(run: Run, copy: Copy | None, deadline: float, now: float) -> tuple[Run | None, float]:
    """Return a run as it has ended (None: it has not), and when time alone will end it (0: never).

    ``deadline``: how long it may take to begin, in seconds. A run whose node is lost counts as lost: it is not begun
    again elsewhere, since nobody knows what it has done.
    """
    if copy is None:
        return _over(run, "lost", "its instance is gone", now), 0.0
    if copy.phase == "exited" and copy.known and copy.exit_code is None:
        return _over(run, "lost", f"nobody saw how it ended: {copy.detail}", now), 0.0
    if copy.phase == "exited" and copy.known:
        good = copy.exit_code == 0
        over = replace(run, state="succeeded" if good else "failed", exit_code=copy.exit_code, ended_at=now)
        return replace(over, detail="" if good else copy.detail), 0.0
    if run.stop:
        return _over(run, "stopped", run.stop, now), 0.0
    if copy.lost:
        return _over(run, "lost", f"node {copy.node} is unavailable", now), 0.0
    if copy.known and copy.phase == "missing":
        return _over(run, "lost", "its instance was removed by hand", now), 0.0
    begun = copy.known and copy.phase not in ("pending", "pulling", "starting", "failed")
    if copy.known and copy.present and not begun and now >= run.started_at + deadline:
        return _over(run, "failed", f"it did not begin within {human_seconds(deadline)}: {copy.detail}", now), 0.0
    ends = run.started_at + run.timeout if run.timeout else 0.0
    if ends and now >= ends:
        return _over(run, "timed out", f"it took longer than {human_seconds(run.timeout)}", now), 0.0
    moments = [at for at in (ends, 0.0 if begun else run.started_at + deadline) if at > now]
    return None, min(moments, default=0.0)


def words(run: Run) -> str:
    """Return how a run ended, as the end of a sentence."""
    code = f" with exit code {run.exit_code}" if run.exit_code else ""
    return f"{run.state}{code}" + (f": {run.detail}" if run.detail else "")


def _over(run: Run, state: State, detail: str, now: float) -> Run:
    return replace(run, state=state, detail=detail, ended_at=now)
