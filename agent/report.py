"""What the engine is told of each instance. Pure.

Phases: ``pending`` (not made yet), ``pulling``, ``starting`` (being made or started), ``running``, ``paused``,
``exited`` (it ended and its restart policy wants no other run, or somebody stopped it and that is not repaired),
``failed`` (it could not be made or started, or it ended and is to run again), ``missing`` (it was removed by hand and
that is not repaired).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from automator67.agent.address import address_of
from automator67.agent.drift import drift
from automator67.agent.model import Retry, Seen, Use, Wanted
from automator67.agent.probe import Standing

_TOLD_AT_ONCE = ("rev_seen", "rev_applied", "runtimes", "foreign", "volumes", "conditions", "policy", "edge")


class Knowledge(NamedTuple):
    """What is known of one instance besides what was seen of it.

    ``progress`` is what is being done for it now (``pulling ...``, ``starting``), ``waits`` why it cannot be made
    yet. ``runtime`` is the health of its runtime, empty where this node does not offer that.
    """

    made: bool = False
    progress: str = ""
    waits: str = ""
    retry: Retry | None = None
    standing: Standing | None = None
    runtime: str = "ok"
    use: Use | None = None


class Clock(NamedTuple):
    """The same instant by two clocks: monotonic, and seconds since the epoch."""

    monotonic: float
    epoch: float

    def to_epoch(self, monotonic: float) -> float:
        """Return a monotonic time as this node's clock would now call it (so that a jump of the clock shifts it)."""
        return round(self.epoch - (self.monotonic - monotonic), 3)


def phase_and_detail(w: Wanted | None, seen: Seen | None, known: Knowledge) -> tuple[str, str]:
    """Return an instance's phase and what there is to say about it; ``w`` is None when it is no longer desired."""
    if known.progress.startswith("pulling"):
        return "pulling", known.progress
    failed = known.retry.detail if known.retry else ""
    if seen is None or seen.state in ("dead", "removing"):
        return _of_absent(w, known, failed)
    if seen.state == "paused":
        return "paused", failed or "paused by hand"
    if seen.state == "created":
        return ("failed", failed) if failed and not known.progress else ("starting", known.progress)
    if seen.state in ("exited", "restarting"):
        return _of_ended(w, seen, known, failed)
    if known.standing is not None and known.standing.health != "healthy":
        return "running", known.standing.detail or failed
    return "running", failed


def health(w: Wanted | None, seen: Seen | None, standing: Standing | None, clock: Clock) -> tuple[str, float]:
    """Return an instance's health and since when (seconds since the epoch; 0 when not healthy)."""
    running = seen is not None and seen.state == "running"
    if w is None or w.health is None:
        return "none", min(seen.started, clock.epoch) if running and seen is not None else 0.0
    if not running or standing is None:
        coming = seen is None or seen.state in ("created", "running")
        return "starting" if coming else "unhealthy", 0.0
    return standing.health, clock.to_epoch(standing.healthy_since) if standing.health == "healthy" else 0.0


def instance_entry(
    w: Wanted | None, seen: Seen | None, known: Knowledge, since: float, clock: Clock, prefix: str
) -> dict[str, Any]:
    """Return one element of the heartbeat's ``instances`` (docs/protocol.md); ``since`` is monotonic."""
    phase, detail = phase_and_detail(w, seen, known)
    state, healthy_since = health(w, seen, known.standing, clock)
    identity: Wanted | Seen | None = w or seen
    entry: dict[str, Any] = {
        "id": w.id if w else seen.instance or seen.name if seen else "",
        "app": (identity.app if identity else "")[:64] or "?",
        "slot": identity.slot if identity else 0,
        "rev": (identity.rev if identity else "")[:16],
        # What runs may still be of an older epoch: that is what the engine must know.
        "epoch": seen.epoch if seen and seen.instance else identity.epoch if identity else 0,
        "phase": phase,
        "health": state,
        "since": clock.to_epoch(since),
        "healthy_since": healthy_since,
        "restarts": seen.restarts if seen else 0,
        "exit_code": seen.exit_code if seen else None,
        "oom": seen.oom if seen else False,
        "detail": detail[:500],
        "address": address_of(w, seen, None) if w and seen and seen.state == "running" else "",
        "drift": [d[:300] for d in drift(w, seen, known.made, prefix)] if w and not known.progress else [],
        "image": ((seen.image if seen else "") or (w.image if w else ""))[:512],
    }
    if known.use is not None:
        entry["cpu"], entry["memory"] = known.use
    return entry


def significant(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a report whose change is told at once; what is measured waits for the next heartbeat."""
    volatile = ("cpu", "memory", "since", "healthy_since")
    return {
        "instances": [{k: v for k, v in entry.items() if k not in volatile} for entry in report["instances"]],
        **{key: report[key] for key in _TOLD_AT_ONCE},
    }


def _of_absent(w: Wanted | None, known: Knowledge, failed: str) -> tuple[str, str]:
    if w is None or known.progress:
        return "starting", known.progress
    if known.runtime != "ok":
        what = f"the {w.runtime} runtime"
        says = {"": f"this node does not offer {what}", "down": f"{what} is down"}
        return "pending", says.get(known.runtime, f"{what} does not answer")
    if w.keep:
        return "missing", "it is gone, and the engine has no specification to make it again"
    if known.made and w.drift != "repair":
        return "missing", "it was removed by hand"
    if failed:
        return "failed", failed
    return "pending", known.waits


def _of_ended(w: Wanted | None, seen: Seen, known: Knowledge, failed: str) -> tuple[str, str]:
    if known.progress:
        return "starting", known.progress
    words = how_it_ended(seen)
    if seen.ended == "hand":
        return ("failed", failed) if failed else ("exited", f"stopped by hand; {words}")
    again = w is not None and (w.restart == "always" or (w.restart == "on-failure" and seen.exit_code != 0))
    if seen.state == "restarting" or again:
        return "failed", failed or words
    return "exited", words


def how_it_ended(seen: Seen) -> str:
    """Return in words how an instance ended."""
    if seen.oom:
        limit = f" (its limit is {seen.memory / 2**20:g} MiB)" if seen.memory else ""
        return f"killed: out of memory{limit}"
    if seen.error:
        return f"it could not be started: {' '.join(seen.error.split())[-240:]}"
    if seen.exit_code == 127 and " exec " in seen.last_line and " failed: " in seen.last_line:
        # Said by the init process that every container begins with.
        return f"the command cannot be started: {seen.last_line.partition(' exec ')[2]}"
    code = "an unknown exit code" if seen.exit_code is None else f"exit code {seen.exit_code}"
    return f"ended with {code}" + (f": {seen.last_line}" if seen.last_line else "")
