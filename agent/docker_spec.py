"""What the worker is told to make a container of: an instance as the Docker Engine should run it. Pure."""

from __future__ import annotations

import math
from typing import Any

from automator67.agent import box, naming
from automator67.agent.drift import DOCKER_RESTART
from automator67.agent.model import Wanted


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
        "ports": sorted(p for p in ports if p is not None),
        "volumes": [
            {
                "name": naming.volume_name(prefix, w.app, w.slot, v.name),
                "path": v.path,
                "labels": whose | {naming.SLOT: str(w.slot), naming.VOLUME: v.name},
            }
            for v in w.volumes
        ],
        "restart": DOCKER_RESTART[w.restart],
        "stop_timeout": math.ceil(w.stop_timeout),
        "user": w.user,
        "secrets": box.request(w, state, cloud, node),
    }


def update_args(w: Wanted, container: str) -> dict[str, Any]:
    """Return the arguments of the worker's ``update`` job, which sets the limits back to what is wanted."""
    return {"container": container, "memory": w.memory, "cpu": w.cpu, "restart": DOCKER_RESTART[w.restart]}
