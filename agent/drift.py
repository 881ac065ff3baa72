"""How a container differs, by somebody's hand, from what its instance was made as. Pure."""

from __future__ import annotations

from automator67.agent.model import Seen, Wanted
from automator67.agent.naming import container_name

_DOCKER_RESTART = {"always": "unless-stopped", "on-failure": "on-failure", "no": "no"}


def docker_restart(w: Wanted) -> str:
    """Return what the Docker Engine calls an instance's restart policy; what needs a lease it must not start itself."""
    return "no" if w.fence else _DOCKER_RESTART[w.restart]


def drift(w: Wanted, seen: Seen | None, made: bool, prefix: str) -> tuple[str, ...]:
    """Return what differs, in words; nothing where the app has ``drift: off`` or the engine keeps it as it is.

    ``made`` says whether the instance has existed here, so that one never made is not called removed.
    """
    if w.drift == "off" or w.keep:
        return ()
    if seen is None:
        return ("removed",) if made else ()
    found: list[str] = []
    if seen.state == "paused":
        found.append("paused")
    if seen.state == "exited" and seen.ended == "hand":
        found.append("stopped by hand")
    if renamed(w, seen, prefix):
        found.append(f"renamed to {seen.name}")
    found.extend(changed_limits(w, seen))
    return tuple(found)


def renamed(w: Wanted, seen: Seen, prefix: str) -> bool:
    """Whether our container has another name than we gave it."""
    return seen.runtime == "docker" and bool(seen.instance) and seen.name != container_name(prefix, w.id)


def changed_limits(w: Wanted, seen: Seen) -> list[str]:
    """Return in words which limits of our container are not as wanted."""
    if seen.runtime != "docker" or not seen.instance:
        return []
    found: list[str] = []
    if seen.memory != w.memory:
        found.append(f"memory limit is {_mebibytes(seen.memory)}, not {_mebibytes(w.memory)}")
    if abs(seen.cpu - w.cpu) > 1e-6:
        found.append(f"cpu limit is {_cores(seen.cpu)}, not {_cores(w.cpu)}")
    if seen.restart != docker_restart(w):
        found.append(f"restart policy is {seen.restart or 'none'}, not {docker_restart(w)}")
    return found


def _mebibytes(n: int) -> str:
    return f"{n / 2**20:g} MiB" if n else "none"


def _cores(n: float) -> str:
    return f"{n:g}" if n else "none"
