"""Reads a heartbeat message into typed values. Pure.

Times in a message are the node's own clock; they are converted by the difference to the engine's. Where an instance
was already known and nothing about it changed, the first conversion stays: a node whose clock is set does not make
its instances younger or older.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from automator67.engine.desired import Runtime
from automator67.engine.observed import Foreign, Instance, NodeState, NodeView
from automator67.engine.stability import ends_after
from automator67.schemas.messages.policy import NOTHING, Policy, read_policy

_RUNTIMES: frozenset[Runtime] = frozenset({"docker", "process"})


@dataclass(frozen=True, slots=True)
class Report:
    """What a heartbeat says that a plan or a judgement cares about; equal reports ask for nothing new."""

    instances: tuple[Instance, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    volumes: frozenset[tuple[str, int]] = frozenset()
    runtimes: frozenset[Runtime] = frozenset()
    degraded: tuple[str, ...] = ()
    cpu: float = 0.0
    memory: int = 0
    disk: int = 0
    applied: str = ""
    policy: Policy = NOTHING
    address: str = ""
    proxy: int = 0
    fingerprint: str = ""
    tools: frozenset[str] = frozenset()


def read_report(node: str, message: Mapping[str, Any], now: float, before: Report | None = None) -> Report:
    """Return what a valid heartbeat message of a node says; ``now`` is the engine's clock."""
    offset = now - float(message.get("clock", now))
    known = {i.id: i for i in before.instances} if before else {}
    capacity = message.get("capacity", {})
    runtimes = message.get("runtimes", {})
    edge = message.get("edge", {})
    troubles = [f"{name} is {state}" for name, state in sorted(runtimes.items()) if state != "ok"]
    return Report(
        tuple(
            _steady(_instance(node, raw, offset, now), known.get(str(raw["id"])), now)
            for raw in sorted(message.get("instances", []), key=lambda raw: str(raw["id"]))
        ),
        tuple(
            Foreign(str(f["name"]), str(f.get("image", "")), str(f.get("phase", "")), tuple(f.get("ports", ())))
            for f in message.get("foreign", [])
        ),
        frozenset((str(v["app"]), int(v["slot"])) for v in message.get("volumes", [])),
        frozenset(r for r in _RUNTIMES if runtimes.get(r) == "ok"),
        (
            *troubles,
            *(str(c) for c in message.get("conditions", [])),
            *([str(edge["problem"])] if edge.get("problem") else []),
        ),
        float(capacity.get("cpu", 0)),
        int(capacity.get("memory", 0)),
        int(capacity.get("disk", 0)),
        str(message.get("rev_applied", "")),
        _policy(message.get("policy", {})),
        str(message.get("agent", {}).get("address", "")),
        int(edge.get("proxy", 0)),
        str(edge.get("fingerprint", "")),
        frozenset(str(tool) for tool in message.get("tools", ())),
    )


def view_of(
    name: str, report: Report | None, usage: Mapping[str, Any], state: NodeState, reason: str, seen: float,
    *, fresh: bool, failures: int = 0, lease_until: float = 0.0,
) -> NodeView:  # fmt: skip
    """Return the node as plans see it."""
    r = report or Report()
    return NodeView(
        name, state, reason, seen, fresh and report is not None, r.cpu, r.memory, r.disk,
        float(usage.get("cpu", 0)), int(usage.get("memory", 0)), int(usage.get("disk", 0)),
        r.runtimes, r.instances, r.foreign, volumes=r.volumes, failures=failures, policy=r.policy, applied=r.applied,
        address=r.address, proxy=r.proxy, fingerprint=r.fingerprint, tools=r.tools, degraded=r.degraded,
        lease_until=lease_until,
    )  # fmt: skip


def _policy(reported: Mapping[str, Any]) -> Policy:
    try:
        return read_policy(reported)
    except ValueError:
        # An agent of another version: what is not understood is no permission.
        return NOTHING


def _instance(node: str, raw: Mapping[str, Any], offset: float, now: float) -> Instance:
    def at(key: str) -> float:
        value = float(raw.get(key) or 0)
        return min(value + offset, now) if value else 0.0

    return Instance(
        str(raw["id"]), str(raw["app"]), int(raw["slot"]), str(raw["rev"]), int(raw.get("epoch", 1)), node,
        raw["phase"], raw.get("health", "none"), at("since"), at("healthy_since"), int(raw.get("restarts", 0)),
        raw.get("exit_code"), bool(raw.get("oom", False)), str(raw.get("detail", "")), str(raw.get("address", "")),
        tuple(str(d) for d in raw.get("drift", ())), str(raw.get("image", "")),
    )  # fmt: skip


def _steady(seen: Instance, before: Instance | None, now: float) -> Instance:
    if before is None:
        return replace(seen, appeared_at=now)
    seen = replace(seen, appeared_at=before.appeared_at)
    if ended := ends_after(before, seen, now):
        seen = replace(seen, ended_at=ended)
    if (seen.phase, seen.restarts) != (before.phase, before.restarts):
        return seen
    since = before.since
    healthy = before.healthy_since if seen.healthy_since and before.healthy_since else seen.healthy_since
    return replace(seen, since=since, healthy_since=healthy)
