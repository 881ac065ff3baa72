"""When an instance that runs at the moment is still not well: it ends again and again. Pure.

A copy has a budget of ends within a window. Beyond it, it counts as not healthy, though its node starts it again (at
ever longer intervals, a minute at most) and it may run just now.
"""

from __future__ import annotations

from collections.abc import Sequence

from automator67.engine.observed import Instance
from automator67.schemas.units import human_seconds

WINDOW = 600.0
BUDGET = 5
_MOST = 32


def ends_after(before: Instance | None, seen: Instance, now: float) -> tuple[float, ...]:
    """Return when an instance ended within the window, given how it was reported last and how it is now.

    An end shows as more restarts, or as a phase that is no longer running; the restart that follows is the same end.
    """
    if before is None:
        return ()
    more = max(0, seen.restarts - before.restarts)
    down = before.phase == "running" and seen.phase in ("failed", "exited")
    risen = before.phase in ("failed", "exited", "starting") and before.ended_at
    new = max(more - (1 if risen else 0), 1 if down else 0)
    return (*(at for at in before.ended_at if now - at <= WINDOW), *[now] * new)[-_MOST:]


def is_looping(ended_at: Sequence[float], now: float) -> bool:
    """Whether an instance has used up its budget of ends."""
    return sum(1 for at in ended_at if now - at <= WINDOW) >= BUDGET


def looping_words(seen: Instance) -> str:
    """Return in words that stay the same for a while that an instance ends again and again, and how the last time."""
    how = "killed: out of memory" if seen.oom else f"exit code {seen.exit_code}"
    if seen.exit_code is None and not seen.oom:
        how = "the cause is not known"
    return f"{seen.id} ended {BUDGET} times or more within {human_seconds(WINDOW)}, last: {how}"
