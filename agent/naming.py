"""How our containers, volumes and stamps are named on a node."""

from __future__ import annotations

BUILT = "a67/"
"""How the names of images begin that the cloud builds itself: nodes have them from each other, by way of the engine."""
CLOUD, NODE, APP = "a67.cloud", "a67.node", "a67.app"
INSTANCE, SLOT, REV, EPOCH, VOLUME = "a67.instance", "a67.slot", "a67.rev", "a67.epoch", "a67.volume"
KEPT = "a67.kept"
"""On a volume that is no app's any more: what it was called."""


def default_prefix(cloud: str) -> str:
    """Return what the names of a cloud's containers and volumes begin with."""
    return "a67-" if cloud == "home" else f"a67-{cloud}-"


def container_name(prefix: str, instance: str) -> str:
    """Return the name of an instance's container."""
    return prefix + instance


def volume_name(prefix: str, app: str, slot: int, name: str) -> str:
    """Return the name of a volume; each slot of an app has its own."""
    return f"{prefix}{app}-{slot}-{name}"
