"""Limits for processes by cgroup, version 2 or 1, where this user may make one."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

_ROOT = "/sys/fs/cgroup"
_PERIOD = 100_000


class Limits(NamedTuple):
    """What limits a process: the files to write its id to, and the directories to remove afterwards.

    ``memory`` and ``cpu`` say whether a cgroup holds that limit. ``oom_file`` counts kills for lack of memory.
    """

    joins: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    memory: bool = False
    cpu: bool = False
    oom_file: str = ""


def own_cgroups(text: str, root: str = _ROOT) -> dict[str, str]:
    """Return the directory of each controller this process is in (``""`` for version 2), from /proc/self/cgroup."""
    found = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            mount = f"{root}/{controllers}" if controllers else root
            found[controller] = f"{mount}{path}".rstrip("/")
    return found


def make(own: dict[str, str], name: str, memory: int, cpu: float) -> Limits:
    """Make cgroups that limit one instance to ``memory`` bytes and ``cpu`` cores (0: no limit) and return them.

    Where that is not permitted the result says so by what it lacks; nothing is raised.
    """
    if "memory" in own:
        return _version_1(own, name, memory, cpu)
    return _version_2(own.get("", ""), name, memory, cpu)


def remove(limits: Limits) -> None:
    """Remove the cgroups of an instance that has ended."""
    for directory in limits.directories:
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def oom_kills(limits: Limits) -> int:
    """Return how often the kernel killed in this cgroup because memory was short."""
    with contextlib.suppress(OSError, ValueError), open(limits.oom_file) as file:
        for line in file:
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
    return 0


def prepare_version_2(own: dict[str, str]) -> None:
    """Move this process into a child of its cgroup, so that the controllers may be given to other children."""
    base = own.get("", "")
    if "memory" in own or not base:
        return
    with contextlib.suppress(OSError):
        os.makedirs(f"{base}/agent", exist_ok=True)
        _write(f"{base}/agent/cgroup.procs", str(os.getpid()))
        _write(f"{base}/cgroup.subtree_control", "+memory +cpu")


def _version_1(own: dict[str, str], name: str, memory: int, cpu: float) -> Limits:
    joins, directories = [], []
    has_memory = has_cpu = False
    oom_file = ""
    with contextlib.suppress(OSError):
        directory = _directory(own["memory"], name)
        _write(f"{directory}/memory.limit_in_bytes", str(memory or -1))
        with contextlib.suppress(OSError):
            # Absent where the kernel does not account for swap.
            _write(f"{directory}/memory.memsw.limit_in_bytes", str(memory or -1))
        has_memory, oom_file = True, f"{directory}/memory.oom_control"
        joins.append(f"{directory}/cgroup.procs")
        directories.append(directory)
    if "cpu" in own:
        with contextlib.suppress(OSError):
            directory = _directory(own["cpu"], name)
            _write(f"{directory}/cpu.cfs_period_us", str(_PERIOD))
            _write(f"{directory}/cpu.cfs_quota_us", str(int(cpu * _PERIOD) or -1))
            has_cpu = True
            if directory not in directories:
                joins.append(f"{directory}/cgroup.procs")
                directories.append(directory)
    if "cpuacct" in own:
        with contextlib.suppress(OSError):
            directory = _directory(own["cpuacct"], name)
            if directory not in directories:
                joins.append(f"{directory}/cgroup.procs")
                directories.append(directory)
    return Limits(tuple(joins), tuple(directories), has_memory, has_cpu, oom_file)


def _version_2(base: str, name: str, memory: int, cpu: float) -> Limits:
    try:
        directory = _directory(base.removesuffix("/agent"), name)
        _write(f"{directory}/memory.max", str(memory or "max"))
        _write(f"{directory}/cpu.max", f"{int(cpu * _PERIOD) or 'max'} {_PERIOD}")
    except OSError:
        return Limits()
    with contextlib.suppress(OSError):
        _write(f"{directory}/memory.swap.max", "0")
    return Limits((f"{directory}/cgroup.procs",), (directory,), True, True, f"{directory}/memory.events")


def _directory(parent: str, name: str) -> str:
    directory = f"{parent}/{name}"
    os.makedirs(directory, exist_ok=True)
    return directory


def _write(path: str, text: str) -> None:
    # Opened without O_CREAT: in a directory that is no cgroup this must fail, not make a file.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
