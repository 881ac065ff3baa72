"""How much of a month an app answered, from what its copies' probes told. Pure; durations and times in seconds.

An app is *up* while at least one copy is healthy. It is *down* while none is and it should be. Time counts as neither
while nothing is known: the engine was away, or a node is silent and has not been given up yet. What a silence was is
decided by its end: if the node reports again, its copies had been answering; if it is given up, they were down.
Downtime on a node whose declared maintenance window is open is told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from automator67.engine.judge import AppState
from automator67.engine.observed import NodeState

Verdict = Literal["up", "down", "maintenance", "silent", "unknown", "idle"]
"""``silent``: not known yet; ``idle``: nothing should run, or never ran yet."""

_SILENT: frozenset[NodeState] = frozenset({"suspect", "failing"})


@dataclass(frozen=True, slots=True)
class Spent:
    """How much time was what. ``silent`` has not been decided yet."""

    up: float = 0.0
    down: float = 0.0
    maintenance: float = 0.0
    idle: float = 0.0
    silent: float = 0.0


@dataclass(frozen=True, slots=True)
class Month:
    """An app's month, ``YYYY-MM`` in UTC. ``since`` is when counting began; ``unknown`` what is left of the time."""

    app: str
    month: str
    since: float
    up: float
    down: float
    maintenance: float
    unknown: float

    @property
    def ratio(self) -> float | None:
        """The share of the known time, without maintenance, in which the app was up; None where nothing is known."""
        return self.up / (self.up + self.down) if self.up + self.down else None


def verdict(state: AppState, nodes: Mapping[str, NodeState], announced: frozenset[str], *, ran_before: bool) -> Verdict:
    """Return what an app is now. ``announced``: the nodes with an open window; ``ran_before``: it was healthy once."""
    if not state.replicas_wanted:
        return "idle"
    copies = [(str(c["node"]), bool(c["healthy"])) for c in state.instances if c["phase"] != "stopping"]
    healthy = [nodes.get(node, "never") for node, well in copies if well]
    if any(s not in _SILENT for s in healthy) and state.replicas_healthy:
        return "up"
    if healthy and state.replicas_healthy:
        return "silent"
    if state.health == "unknown":
        return "unknown"
    if any(node in announced for node, _ in copies):
        return "maintenance"
    return "down" if ran_before else "idle"


def account(spent: Spent, found: Verdict, seconds: float) -> Spent:
    """Return what was spent after so many seconds of a verdict; it decides the silence before it."""
    if found == "silent":
        return replace(spent, silent=spent.silent + seconds)
    if found == "unknown":
        return replace(spent, silent=0.0)
    total = getattr(spent, found) + seconds + spent.silent
    return replace(spent, silent=0.0, **{found: total})


def percent(ratio: float | None) -> str:
    """Return a share for people; never 100 % where something is missing."""
    if ratio is None:
        return "-"
    return "100 %" if ratio == 1 else f"{min(ratio * 100, 99.999):.3f} %"
