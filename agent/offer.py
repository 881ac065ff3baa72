"""Which runtimes this node offers. Pure."""

from __future__ import annotations


def offered(runtime: str, socket_exists: bool) -> tuple[bool, bool]:
    """Return whether containers and whether processes are offered; ``auto`` is containers where there is an engine."""
    docker = runtime in ("docker", "both") or (runtime == "auto" and socket_exists)
    return docker, runtime in ("process", "both") or (runtime == "auto" and not docker)
