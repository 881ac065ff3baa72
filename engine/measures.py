"""What is measured of nodes and apps, taken from what nodes report. Pure.

CPU in cores, sizes in bytes. What a node does not report is left out, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from automator67.engine.judge import AppState

Measures = Mapping[str, float]
"""Values by name: ``cpu_used``, ``memory_used``, ..."""
Point = Mapping[str, Measures]
"""The measures of everything at one time, by resource: ``node/NAME``, ``app/NAME``, ``engine``."""

Report = Mapping[str, Any]
_AMOUNTS = ("cpu", "memory", "disk")


def node_measures(report: Report) -> dict[str, float]:
    """Return what a node has (``cpu``), what of it is used (``cpu_used``), and what its agent takes."""
    found: dict[str, float] = {}
    for part, ending in (("capacity", ""), ("usage", "_used")):
        amounts = report.get(part) or {}
        found |= {f"{name}{ending}": float(amounts[name]) for name in _AMOUNTS if name in amounts}
    agent = report.get("agent") or {}
    return found | ({"agent_memory": float(agent["rss"])} if "rss" in agent else {})


def app_measures(states: Mapping[str, AppState], reports: Iterable[Report]) -> dict[str, dict[str, float]]:
    """Return for each app its replicas, what they use together, and how often those that run were started again."""
    found: dict[str, dict[str, float]] = {
        name: {"replicas": float(s.replicas_wanted), "replicas_healthy": float(s.replicas_healthy)}
        for name, s in states.items()
    }
    for report in reports:
        for instance in report.get("instances") or ():
            mine = found.get(str(instance.get("app", "")))
            if mine is None:
                continue
            for key, name in (("cpu", "cpu_used"), ("memory", "memory_used"), ("restarts", "restarts")):
                if isinstance(instance.get(key), (int, float)):
                    mine[name] = mine.get(name, 0.0) + float(instance[key])
    return found


def present(reports: Mapping[str, Report], states: Mapping[str, AppState], engine: Measures) -> dict[str, Measures]:
    """Return the point of now: every node that reports, every app, and the engine itself."""
    point: dict[str, Measures] = {"engine": dict(engine)}
    point |= {f"node/{name}": measures for name, r in reports.items() if (measures := node_measures(r))}
    return point | {f"app/{name}": m for name, m in app_measures(states, reports.values()).items()}


def mean(points: Iterable[Point]) -> dict[str, dict[str, float]]:
    """Return the mean of each measure over the points that have it."""
    sums: dict[str, dict[str, list[float]]] = {}
    for point in points:
        for resource, measures in point.items():
            into = sums.setdefault(resource, {})
            for name, value in measures.items():
                into.setdefault(name, []).append(value)
    return {
        resource: {name: sum(values) / len(values) for name, values in measures.items()}
        for resource, measures in sums.items()
    }
