"""Ends what must not run twice when the lease is over, whatever has become of the agent.

``python -I -S guard.py STATE DOCKER_SOCKET``: a process of its own, in its own session, that outlives the agent. It
reads lease.json (fencing.py), sleeps until the lease is over, and kills what is left then: an agent that hangs, was
killed or is stopped cannot let an instance run on. It ends when there is nothing to be guarded.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
import types
from typing import Any

if __name__ == "__main__":
    # As in lean.py: without site there is no way to installed packages, and none but ours is needed.
    package = types.ModuleType("automator67")
    package.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
    sys.modules["automator67"] = package

from automator67.agent import naming, proctable
from automator67.agent.docker_http import DockerApi, percent
from automator67.agent.state import read_json

_LOOK = 0.5
_KILL_TIMEOUT = 2.0


def main(state: str, docker_socket: str) -> int:
    """Guard until there is nothing to be guarded any more; return the exit code."""
    lock = os.open(f"{state}/guard.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0
    while True:
        doc = read_json(f"{state}/lease.json")
        if doc is None or doc["boot"] != proctable.boot_id() or not doc["fenced"]:
            return 0
        left = float(doc["lease"][1]) - time.clock_gettime(time.CLOCK_BOOTTIME)
        if left <= 0:
            end_all(doc, docker_socket)
        time.sleep(min(max(left, 0.0), _LOOK) or _LOOK)


def end_all(doc: dict[str, Any], docker_socket: str) -> None:
    """Kill every process and container of the instances that must not run."""
    fenced = set(doc["fenced"])
    for pid, env in proctable.stamped(doc["cloud"], doc["node"]).items():
        if env["A67_INSTANCE"] in fenced:
            _kill(pid)
    for _, pid, start in doc["containers"]:
        # The first process of a container: with it the kernel ends all others, even while the Docker Engine hangs.
        if pid and proctable.is_alive(pid, start):
            _kill(pid)
    if docker_socket:
        # Beyond those that the agent knew: one may have been on its way when the agent was stopped.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            _kill_containers(DockerApi(docker_socket), doc, fenced)


def _kill_containers(api: DockerApi, doc: dict[str, Any], fenced: set[str]) -> None:
    for entry in api.containers():
        labels = entry.get("Labels") or {}
        whose = (labels.get(naming.CLOUD), labels.get(naming.NODE))
        if whose == (doc["cloud"], doc["node"]) and labels.get(naming.INSTANCE) in fenced and _runs(entry):
            api.call("POST", f"/containers/{percent(entry['Id'])}/kill", _KILL_TIMEOUT)


def _runs(entry: dict[str, Any]) -> bool:
    return entry.get("State") in ("running", "paused", "restarting")


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
