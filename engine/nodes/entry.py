"""What the registry keeps of one node in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import cast, get_args

from automator67.engine.desired import Node
from automator67.engine.instances import NodeDesired
from automator67.engine.nodes.eligibility import remark
from automator67.engine.nodes.judgement import Signs, Standing
from automator67.engine.nodes.punctuality import Punctuality
from automator67.engine.nodes.reading import Report, read_report
from automator67.engine.observed import NodeState
from automator67.engine.store.nodes import NodeRecord

RARE, NEVER = 1e-2, 1e-6
"""How probable, per heartbeat, chance may make it that a node that lives is suspect, is unavailable."""


@dataclass(slots=True)
class Entry:
    """A node: what the store remembers of it, and what it said since the engine runs."""

    record: NodeRecord
    report: Report | None = None
    fresh: bool = False
    seen: float | None = None
    """Monotonic time of the last heartbeat; None before the first one the engine heard or remembers."""
    held: int = 0
    broken: float | None = None
    boots: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    desired: NodeDesired | None = None
    key: bytes = b""
    trouble: str = ""
    """Why a place cannot be looked at now."""
    standing: Standing = field(default_factory=Standing)
    punctual: Punctuality = field(default_factory=Punctuality)
    every: float = 0.0
    """How often the agent was told to report; 0: not told yet by this engine."""
    lease_until: float = 0.0
    """Monotonic time until which a lease may be held."""
    lapsed: bool = True
    """A pass saw it lost, or none has looked yet: what must not run twice may be elsewhere, and it gets no lease."""
    dirty: bool = False
    saved: float = 0.0


def remembered(record: NodeRecord, now: float, mono: float) -> Entry:
    """Return what the store remembers of a node; ``now`` and ``mono`` are the same instant by two clocks."""
    entry = Entry(record)
    if record.state in get_args(NodeState):
        entry.standing = Standing(cast(NodeState, record.state), record.state_reason, mono)
    if record.last_seen:
        entry.seen = mono - max(0.0, now - record.last_seen)
        entry.report = read_report(record.name, record.report, now) if record.report else None
    return entry


def signs_of(entry: Entry | None, mono: float) -> Signs:
    """Return what is known of a node's liveness at a monotonic time."""
    if entry is None:
        return Signs(None)
    silent = mono - entry.seen if entry.seen is not None else None
    broken = mono - entry.broken if entry.broken is not None and not entry.held else None
    revoked = entry.record.revoked_at is not None
    if not entry.every:
        return Signs(silent, broken, revoked)
    suspect = entry.punctual.patience(entry.every, RARE)
    unavailable = entry.punctual.patience(entry.every, NEVER)
    return Signs(silent, broken, revoked, entry.every, suspect, unavailable)


def heard(entry: Entry, mono: float) -> None:
    """Note a heartbeat, and what it says of how punctual the node is."""
    if entry.every and entry.seen is not None and entry.standing.state in ("healthy", "suspect", "recovering"):
        # A silence that was found to be the node's or the engine's absence says nothing of lost heartbeats.
        entry.punctual = entry.punctual.after(mono - entry.seen, entry.every)
    entry.seen = mono


def grant(entry: Entry, mono: float, seconds: float) -> float:
    """Return for how many seconds a node that is heard now may run what must not run twice; 0: nothing is granted."""
    if entry.lapsed:
        return 0.0
    entry.lease_until = max(entry.lease_until, mono + seconds)
    return seconds


def told(verdict: Standing, node: Node | None, entry: Entry | None) -> Standing:
    """Return a verdict on a node that is well with what its declaration means for it now."""
    if verdict.state != "healthy" or node is None or entry is None or entry.report is None:
        return verdict
    return replace(verdict, reason=remark(node, len(entry.report.instances)))
