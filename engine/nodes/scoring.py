"""How well a node suits by what it is and how it has been, each from 0 to 1; the choice weighs them. Pure."""

from __future__ import annotations

import math

from automator67.engine.desired import App, Node
from automator67.engine.observed import NodeView
from automator67.engine.quotas import Resource
from automator67.schemas.units import human_bytes

CPU_OVERCOMMIT = 2.0
HOURS_PER_MONTH = 730.0
PLENTY_OF_EGRESS = 100e9
"""So many bytes a month are as good as any number."""


def reliability(view: NodeView) -> float:
    """Return how seldom deploys, and the node itself, failed lately."""
    return math.exp(-view.failures / 2)


def ease(view: NodeView) -> float:
    """Return how much of what is scarcest on the node is left."""
    shares = [
        used / whole
        for used, whole in ((view.cpu_used, view.cpu), (view.memory_used, view.memory), (view.disk_used, view.disk))
        if whole
    ]
    return 1.0 - min(1.0, max(shares, default=0.0))


def awake(node: Node) -> float:
    """Return 1 where an app keeps running while nobody asks for it."""
    return 0.0 if node.tier is not None and node.tier.sleeps else 1.0


def egress(node: Node, view: NodeView) -> float:
    """Return how much an app may still send from there, to clients and to its shards alike."""
    free = node.tier.egress if node.tier is not None else None
    return 1.0 if free is None else min(1.0, max(0.0, free - _used(view, "egress")) / PLENTY_OF_EGRESS)


def hours_left(node: Node, view: NodeView, held: int) -> float:
    """Return what is left of an account's hours when it holds so many services.

    They sleep part of the time; how much is not known before, so each makes the rest smaller, but never nothing.
    """
    hours = node.tier.hours if node.tier is not None else None
    if hours is None:
        return 1.0
    left = max(0.0, hours - _used(view, "hours"))
    return left / (hours + HOURS_PER_MONTH * held) if hours else 0.0


def _used(view: NodeView, resource: Resource) -> float:
    return sum(q.used for q in view.quotas if q.resource == resource)


def too_small(app: App, node: Node) -> str:
    """Return in what a copy gets too little where each has resources of its own, or nothing."""
    tier = node.tier
    if tier is not None and tier.memory is not None and app.memory > tier.memory:
        return f"needs {human_bytes(app.memory)} of memory, a copy gets {human_bytes(tier.memory)} there"
    if tier is not None and tier.cpu is not None and app.cpu > CPU_OVERCOMMIT * tier.cpu:
        return f"needs {app.cpu:g} cpu, a copy gets {tier.cpu:g} there"
    return ""
