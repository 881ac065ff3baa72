"""Which snapshots and restore tests are due, and why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from automator67.engine.desired import App, Node
from automator67.engine.observed import NodeView
from automator67.engine.volumes import Backup, RunKind, VolumeFacts, VolumeId
from automator67.schemas.units import human_seconds

AGAIN_SECONDS = 900.0
"""How long after a failure the same is tried again, where it is not due more often than that."""
TOOL = "restic"


@dataclass(frozen=True, slots=True)
class Target:
    """A volume that is backed up, and the node that holds it (empty: none yet)."""

    volume: VolumeId
    backup: Backup
    node: str


@dataclass(frozen=True, slots=True)
class Due:
    """Something to do now, and why."""

    kind: RunKind
    target: Target
    reason: str
    snapshot: str = ""


def targets(apps: Iterable[App], homes: Mapping[tuple[str, int], str]) -> list[Target]:
    """Return every volume of these apps that is to be backed up, in the order of their names."""
    found = [
        Target(VolumeId(app.name, slot, backup.volume), backup, homes.get((app.name, slot), ""))
        for app in apps
        for slot in range(app.replicas)
        for backup in app.backups
    ]
    return sorted(found, key=lambda t: t.volume)


def trouble(target: Target, node: Node | None, view: NodeView | None) -> str:
    """Return why the volume cannot be backed up as things are, and what would help; nothing where it can."""
    what = f"volume {target.volume.volume} is not backed up"
    if not target.node:
        return ""
    if node is not None and node.kind != "agent":
        return f"{what}: node {target.node} is of kind {node.kind}, and only an agent can do it"
    if view is not None and view.reported and TOOL not in view.tools:
        return f"{what}: node {target.node} has no {TOOL}; install it there (apt install {TOOL})"
    return ""


def due(
    wanted: Iterable[Target],
    facts: VolumeFacts,
    able: Mapping[str, bool],
    serving: Collection[tuple[str, int]],
    now: float,
) -> tuple[list[Due], float]:
    """Return what is to be begun at ``now``, and when time alone makes something else due (0: never).

    ``able``: by node, whether it can do such work now; ``serving``: the (app, slot) pairs of which a healthy copy runs.
    A first snapshot waits for one, so that there is something in it, and so does a command that runs in it. What is
    under way already is not due again.
    """
    found: list[Due] = []
    times: list[float] = []
    busy = {run.volume for run in facts.runs if run.state == "wanted"}
    for target in wanted:
        if target.volume in busy or not able.get(target.node, False):
            continue
        waits = target.volume[:2] not in serving and (target.backup.pre or facts.latest(target.volume) is None)
        for at, one in (_backup(target, facts), _test(target, facts)):
            if one is None or (waits and one.kind == "backup"):
                continue
            if at <= now:
                found.append(one)
                break
            times.append(at)
    return found, min(times, default=0.0)


def next_backup(target: Target, facts: VolumeFacts) -> float:
    """Return when the next snapshot of a volume is due."""
    return _backup(target, facts)[0]


def _backup(target: Target, facts: VolumeFacts) -> tuple[float, Due | None]:
    done = facts.last(target.volume, "backup", "done")
    last = facts.last(target.volume, "backup")
    if done is None:
        reason, at = "it has no snapshot yet", 0.0
    else:
        reason, at = f"every {human_seconds(target.backup.every)}", done.started_at + target.backup.every
    if last is not None and last.state == "failed":
        at = max(at, last.ended_at + min(AGAIN_SECONDS, target.backup.every))
        reason = f"the last one failed: {last.message}"
    return at, Due("backup", target, reason)


def _test(target: Target, facts: VolumeFacts) -> tuple[float, Due | None]:
    snapshot = facts.latest(target.volume)
    if snapshot is None:
        return 0.0, None
    last = facts.last(target.volume, "test")
    if last is None:
        return snapshot.at, Due("test", target, "its snapshots were never tested", snapshot.id)
    pause = target.backup.test if last.state == "done" else min(target.backup.test, AGAIN_SECONDS)
    reason = f"every {human_seconds(target.backup.test)}" if last.state == "done" else "the last test failed"
    return last.ended_at + pause, Due("test", target, reason, snapshot.id)
