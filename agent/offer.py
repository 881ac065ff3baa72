"""What this node offers: runtimes, and tools for what the engine may ask."""

from __future__ import annotations

import os

TOOLS = ("restic",)
"""Programs that are not part of the agent, which some of what it does needs."""


def offered(runtime: str, socket_exists: bool) -> tuple[bool, bool]:
    """Return whether containers and whether processes are offered; ``auto`` is containers where there is an engine."""
    docker = runtime in ("docker", "both") or (runtime == "auto" and socket_exists)
    return docker, runtime in ("process", "both") or (runtime == "auto" and not docker)


def tools(path: str) -> list[str]:
    """Return the tools that are found in the directories of a PATH."""
    places = [place for place in path.split(":") if place.startswith("/")]
    return [tool for tool in TOOLS if any(os.access(f"{place}/{tool}", os.X_OK) for place in places)]
