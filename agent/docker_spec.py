"""What the worker is told to make a container of: an instance as the Docker Engine should run it. Pure."""

from __future__ import annotations

import math
from typing import Any

from automator67.agent import box, naming
from automator67.agent.drift import docker_restart
from automator67.agent.model import Step, Wanted
from automator67.schemas.messages.policy import DROPPED_CAPABILITIES

MOST_PROCESSES = 4096
"""How many processes and threads one container may have: a fork bomb ends there."""


def job_args(
    step: Step, w: Wanted | None, stop_timeout: float, state: str, cloud: str, node: str, prefix: str
) -> dict[str, Any]:
    """Return the arguments of the worker's job for a step (see docker_jobs); ``w`` is None where none is wanted."""
    if step.kind == "create" and w is not None:
        return create_args(w, state, cloud, node, prefix)
    if step.kind == "update" and w is not None:
        return update_args(w, step.handle)
    args: dict[str, Any] = {"container": step.handle}
    if step.kind == "start" and w is not None:
        args["secrets"] = box.request(w, state, cloud, node)
    elif step.kind == "rename":
        args["name"] = naming.container_name(prefix, step.instance)
    elif step.kind == "remove":
        args["stop_timeout"] = math.ceil(stop_timeout)
        args["files"] = {"cloud": cloud, "node": node, "instance": step.instance}
    return args


def create_args(w: Wanted, state: str, cloud: str, node: str, prefix: str) -> dict[str, Any]:
    """Return the arguments of the worker's ``create`` job for an instance (see docker_jobs)."""
    whose = {naming.CLOUD: cloud, naming.NODE: node, naming.APP: w.app}
    stamp = {naming.INSTANCE: w.id, naming.SLOT: str(w.slot), naming.REV: w.rev, naming.EPOCH: str(w.epoch)}
    env = dict(w.env)
    if w.port is not None:
        env.setdefault("PORT", str(w.port))
    ports = {w.port, w.health.port if w.health else None} - {None}
    return {
        "name": naming.container_name(prefix, w.id),
        "image": w.image,
        "command": list(w.command),
        "env": env,
        "labels": whose | stamp,
        "memory": w.memory,
        "cpu": w.cpu,
        # On the host's own network there is nothing to publish.
        "ports": [] if w.access.host_network else sorted(p for p in ports if p is not None),
        "volumes": [
            {
                "name": naming.volume_name(prefix, w.app, w.slot, v.name),
                "path": v.path,
                "labels": whose | {naming.SLOT: str(w.slot), naming.VOLUME: v.name},
            }
            for v in w.volumes
        ],
        "restart": docker_restart(w),
        "stop_timeout": math.ceil(w.stop_timeout),
        "user": w.user,
        "secrets": box.request(w, state, cloud, node),
        "state": state,
        "privileged": w.access.privileged,
        "network": "host" if w.access.host_network else None,
        "mounts": [{"host": m.host, "path": m.path, "read_only": m.read_only} for m in w.access.mounts],
        "cap_add": list(w.access.capabilities),
        "cap_drop": [] if w.access.privileged else [c for c in DROPPED_CAPABILITIES if c not in w.access.capabilities],
        "devices": list(w.access.devices),
        "pids": MOST_PROCESSES,
    }


def update_args(w: Wanted, container: str) -> dict[str, Any]:
    """Return the arguments of the worker's ``update`` job, which sets the limits back to what is wanted."""
    return {"container": container, "memory": w.memory, "cpu": w.cpu, "restart": docker_restart(w)}
