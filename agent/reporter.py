"""Puts the heartbeat together: everything that is observed on this node, in full, every time."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from automator67.agent import VERSION, metrics
from automator67.agent.keeper import Keeper
from automator67.agent.metrics import Meter
from automator67.agent.model import Use
from automator67.agent.offer import tools
from automator67.agent.probes import Probes
from automator67.agent.processes import Processes
from automator67.agent.proctable import new_id
from automator67.agent.report import Clock, instance_entry, significant
from automator67.schemas.messages.policy import as_message

# From here on the disk counts as full: images are cleared away and the engine is told.
DISK_PRESSURE = 0.8
_MEMORY_PRESSURE = 0.95


class Reporter:
    """For the main thread. ``conditions`` are those found elsewhere; the node's own are added to them."""

    def __init__(self, keeper: Keeper, probes: Probes, processes: Processes | None, disk_path: str) -> None:
        self._keeper, self._probes, self._processes, self._disk_path = keeper, probes, processes, disk_path
        self._meter = Meter()
        self._phases: dict[str, tuple[str, float]] = {}
        self._boot_id = new_id()
        self._seq = 0
        self._applied = ""
        self._uses: dict[str, Use] = {}
        self._node = metrics.node_use(self._meter, disk_path)
        self._last_significant: dict[str, Any] | None = None
        self.conditions: set[str] = set()
        self.edge: dict[str, Any] = {}
        self.address = ""

    @property
    def disk_is_filling(self) -> bool:
        """Whether the disk that apps fill is nearly full."""
        return self._node.disk > 0 and self._node.disk_used >= DISK_PRESSURE * self._node.disk

    def next_seq(self) -> int:
        """Count the heartbeats of this process."""
        self._seq += 1
        return self._seq

    def measure(self) -> None:
        """Read what the node and the instances use."""
        with contextlib.suppress(OSError):
            self._node = metrics.node_use(self._meter, self._disk_path)
        uses = self._processes.usage(self._meter) if self._processes is not None else {}
        for s in self._keeper.observed().seen:
            if s.runtime == "docker" and s.state == "running" and s.pid:
                use = metrics.cgroup_use(self._meter, s.handle, s.pid)
                if use is not None:
                    uses[s.handle] = use
        self._uses = uses
        self._meter.forget({"node", *uses})

    def build(self) -> dict[str, Any]:
        """Return a complete report but for its number and time, which are set when it is sent."""
        keeper = self._keeper
        found = keeper.look()
        clock = Clock(time.monotonic(), time.time())
        pairs = [*found.pairs, *((None, s) for s in found.extra)]
        entries = []
        phases: dict[str, tuple[str, float]] = {}
        for w, seen in pairs:
            standing = self._probes.standing(w.id) if w else None
            known = keeper.knowledge(w, seen)._replace(
                standing=standing, use=self._uses.get(seen.handle) if seen else None
            )
            entry = instance_entry(w, seen, known, 0.0, clock, keeper.prefix)
            key = f"{entry['id']} {seen.handle if seen else ''}"
            phases[key] = self._since(key, entry["phase"], seen.started if seen else 0.0, clock)
            entry["since"] = clock.to_epoch(phases[key][1])
            entries.append(entry)
        self._phases = phases
        desired = keeper.desired
        rev = desired.rev if desired else ""
        if keeper.converged():
            self._applied = rev
        return {
            "proto": 1,
            "boot_id": self._boot_id,
            "rev_seen": rev,
            "rev_applied": self._applied,
            "runtimes": keeper.runtimes,
            "instances": entries,
            "foreign": [
                {"name": f.name[:256], "image": f.image[:512], "phase": f.phase[:32], "ports": list(f.ports[:100])}
                for f in keeper.foreign
            ],
            "capacity": {"cpu": self._node.cores, "memory": self._node.memory, "disk": self._node.disk},
            "usage": {"cpu": self._node.cpu, "memory": self._node.memory_used, "disk": self._node.disk_used},
            "volumes": [{"app": a, "slot": s, "name": n} for a, s, n in self._volumes()],
            "conditions": self._all_conditions(),
            "tools": tools(os.environ.get("PATH", "")),
            "policy": as_message(keeper.policy.current),
            "events": list(keeper.events),
            "edge": self.edge,
            "agent": {"version": VERSION, "rss": metrics.own_memory(), "address": self.address},
        }

    def changed(self, report: dict[str, Any]) -> bool:
        """Whether a report says something that should be told at once; remembered as told."""
        new = significant(report)
        different = new != self._last_significant
        self._last_significant = new
        return different

    def acknowledged(self, report: dict[str, Any]) -> None:
        """Drop the events that the engine has now."""
        told = {(e["at"], e["instance"], e["kind"]) for e in report["events"]}
        events = self._keeper.events
        events[:] = [e for e in events if (e["at"], e["instance"], e["kind"]) not in told]

    def _since(self, key: str, phase: str, started: float, clock: Clock) -> tuple[str, float]:
        before = self._phases.get(key)
        if before is not None and before[0] == phase:
            return before
        if before is None and phase == "running" and started:
            # It ran before this agent looked.
            return phase, clock.monotonic - max(0.0, clock.epoch - started)
        return phase, clock.monotonic

    def _volumes(self) -> list[tuple[str, int, str]]:
        snapshot = self._keeper.snapshot
        found = list(snapshot.volumes) if snapshot else []
        return found + (self._processes.volumes() if self._processes is not None else [])

    def _all_conditions(self) -> list[str]:
        found = set(self.conditions)
        if self._keeper.policy.problem:
            found.add("policy_unusable")
        if self.disk_is_filling:
            found.add("disk_pressure")
        if self._node.memory and self._node.memory_used > _MEMORY_PRESSURE * self._node.memory:
            found.add("memory_pressure")
        return sorted(found)


def disk_path(state: str) -> str:
    """Return a path on the disk that apps fill: the Docker Engine's, where it may be seen."""
    root = "/var/lib/docker"
    return root if os.access(root, os.F_OK) else state
