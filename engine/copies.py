"""Copies: the recorded intent for every instance joined with what its node reports. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from automator67.engine.jobs import run_number
from automator67.engine.observed import Health, InstancePhase, Observed

LOST_STATES = frozenset({"unavailable", "revoked"})
FENCE_MARGIN = 5.0
"""How much longer than a lease the engine waits, in seconds: what a node needs to kill, and for clocks that differ."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One instance on one node.

    ``assigned``: False for one that was found by its stamp without a recorded intent. ``stopping``: the intent is
    that it stops. ``draining``: it takes no new requests since ``draining_since``. ``lost``: its node cannot be relied
    on any more. ``known``: its node has reported since the engine started; ``present``: it was in that report.
    ``since``: when it was assigned; ``appeared_at``: when its node first reported it; ``phase_since``: when its phase
    began. ``fenced_at``: when its node must have stopped it, if it must not run twice and
    the node hears nothing of the engine. Times are seconds since the epoch.
    """

    instance: str
    app: str
    slot: int
    rev: str
    node: str
    epoch: int
    assigned: bool = True
    stopping: bool = False
    draining: bool = False
    lost: bool = False
    known: bool = False
    present: bool = False
    since: float = 0.0
    phase_since: float = 0.0
    appeared_at: float = 0.0
    phase: InstancePhase = "pending"
    health: Health = "none"
    healthy_since: float = 0.0
    detail: str = ""
    drift: tuple[str, ...] = ()
    adopt: str | None = None
    draining_since: float = 0.0
    fenced_at: float = math.inf
    exit_code: int | None = None
    run: int = 0
    """Which run of its app it is; 0: a copy that stays."""

    @property
    def healthy(self) -> bool:
        """Whether it could serve now, as far as the engine can know."""
        return not self.lost and self.phase == "running" and self.health in ("none", "healthy")

    @property
    def serving(self) -> bool:
        """Whether it is healthy and nobody has begun to take it away."""
        return self.healthy and not (self.draining or self.stopping)

    def ready(self, healthy_for: float, now: float) -> bool:
        """Whether it has been healthy for ``healthy_for`` seconds."""
        return self.healthy and now - self.healthy_since >= healthy_for


def instance_id(app: str, slot: int, rev: str) -> str:
    """Return the name of an instance: the same app, slot and revision always give the same name."""
    return f"{app}-{slot}-{rev}"


def join(observed: Observed) -> Mapping[str, list[Copy]]:
    """Return all copies by app: those assigned, and those found on a node without an assignment."""
    reported = {(i.id, view.name): i for view in observed.nodes.values() if view.reported for i in view.instances}
    lost = {view.name for view in observed.nodes.values() if view.state in LOST_STATES}
    known = {view.name for view in observed.nodes.values() if view.reported}
    fenced = {view.name: view.lease_until + FENCE_MARGIN for view in observed.nodes.values()}
    copies: dict[str, list[Copy]] = {}
    for a in observed.assignments:
        i = reported.pop((a.instance, a.node), None)
        copy = Copy(
            a.instance, a.app, a.slot, a.rev, a.node, a.epoch,
            stopping=a.want == "stop", draining=a.want == "drain", lost=a.node in lost or a.node not in observed.nodes,
            known=a.node in known, present=i is not None, since=a.since, adopt=a.adopt,
            draining_since=a.draining_since,
            phase_since=i.since if i else 0.0, appeared_at=i.appeared_at if i else 0.0,
            phase=i.phase if i else "pending", health=i.health if i else "none",
            healthy_since=i.healthy_since if i else 0.0, detail=i.detail if i else "",
            drift=i.drift if i else (), fenced_at=fenced.get(a.node, math.inf),
            exit_code=i.exit_code if i else None, run=run_number(a.app, a.instance),
        )  # fmt: skip
        copies.setdefault(a.app, []).append(copy)
    for (_, node), i in reported.items():
        copy = Copy(
            i.id, i.app, i.slot, i.rev, node, i.epoch,
            assigned=False, lost=node in lost, known=True, present=True, since=i.since,
            phase=i.phase, health=i.health, healthy_since=i.healthy_since, detail=i.detail, drift=i.drift,
            phase_since=i.since, appeared_at=i.appeared_at, fenced_at=fenced[node],
            exit_code=i.exit_code, run=run_number(i.app, i.id),
        )  # fmt: skip
        copies.setdefault(i.app, []).append(copy)
    return copies
