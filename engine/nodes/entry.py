"""What the registry keeps of one node in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from automator67.engine.desired import Node
from automator67.engine.instances import NodeDesired
from automator67.engine.nodes.eligibility import remark
from automator67.engine.nodes.judgement import Signs, Verdict
from automator67.engine.nodes.reading import Report
from automator67.engine.store.nodes import NodeRecord


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
    troubles: deque[float] = field(default_factory=lambda: deque(maxlen=32))
    dirty: bool = False
    saved: float = 0.0


def signs_of(entry: Entry | None, mono: float) -> Signs:
    """Return what is known of a node's liveness at a monotonic time."""
    if entry is None:
        return Signs(None)
    silent = mono - entry.seen if entry.seen is not None else None
    broken = mono - entry.broken if entry.broken is not None and not entry.held else None
    return Signs(silent, broken, entry.record.revoked_at is not None)


def told(verdict: Verdict, node: Node | None, entry: Entry | None) -> Verdict:
    """Return a verdict on a node that is well with what its declaration means for it now."""
    if verdict.state != "healthy" or node is None or entry is None or entry.report is None:
        return verdict
    return replace(verdict, reason=remark(node, len(entry.report.instances)))
