"""What accounts at providers use, taken from what is observed there and declared for them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from automator67.engine.desired import Desired, Node
from automator67.engine.observed import NodeView
from automator67.engine.quotas import Period, Quota, Resource, quotas


def running(node: Node, view: NodeView | None) -> int:
    """Return how many copies run at an account: what sleeps cannot be told from what is awake, so it counts, too."""
    if node.tier is None or view is None:
        return 0
    return sum(1 for i in view.instances if i.phase == "running")


def used(
    node: Node, view: NodeView | None, report: Mapping[str, Any], desired: Desired, hours: float
) -> dict[Resource, float]:
    """Return what is known of an account's use. ``hours`` were counted; bytes are those its provider reports."""
    shards = [shard for _, shard in desired.provided_shards() if shard["provider"] == node.name]
    found: dict[Resource, float] = {
        "hours": hours,
        "services": float(len(view.instances)) if view else 0.0,
        "databases": float(len(shards)),
        "connections": float(sum(int(s.get("connections", 10)) for s in shards)),
    }
    usage = report.get("usage") or {}
    return found | {name: float(usage[key]) for name, key in _REPORTED.items() if key in usage}


_REPORTED: Mapping[Resource, str] = {"egress": "egress", "storage": "disk"}


def standing(
    desired: Desired,
    views: Mapping[str, NodeView],
    reports: Mapping[str, Mapping[str, Any]],
    hours: Mapping[str, tuple[float, float]],
    month: tuple[float, float],
    now: float,
) -> list[Quota]:
    """Return how all declared accounts stand.

    ``hours`` are by account (hours, since when counted), ``month`` is when the present one begins and ends.
    """
    found: list[Quota] = []
    for name, node in desired.nodes.items():
        if node.tier is None:
            continue
        view, report = views.get(name), reports.get(name, {})
        awake, since = hours.get(name, (0.0, now))
        begins, ends = report.get("period") or month
        period = Period(float(begins), float(ends), float(begins) if "period" in report else since)
        found += quotas(name, node.tier, used(node, view, report, desired, awake), period, now, running(node, view))
    return found


def accounted(views: Mapping[str, NodeView], found: Iterable[Quota]) -> dict[str, NodeView]:
    """Return the nodes with how their accounts stand."""
    by_node: dict[str, list[Quota]] = {}
    for quota in found:
        by_node.setdefault(quota.node, []).append(quota)
    return {
        name: replace(view, quotas=tuple(by_node[name])) if name in by_node else view for name, view in views.items()
    }
