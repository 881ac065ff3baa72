"""What the node and each instance use, from /proc and cgroup files: half a millisecond for ten containers.

The Docker Engine's own ``stats`` call takes 1 to 2 s per container. Sizes in bytes, CPU in cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import NamedTuple

from automator67.agent.model import Use

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUPS = "/sys/fs/cgroup"


class NodeUse(NamedTuple):
    """The whole node: what it has and what is used."""

    cores: int
    cpu: float
    memory: int
    memory_used: int
    disk: int
    disk_used: int


class Meter:
    """Turns counters into rates: remembers the last reading of each."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float, float]] = {}

    def rate(self, key: str, seconds: float, now: float) -> float:
        """Return the CPU seconds used per second since the last reading; readings within 1 s repeat the last rate."""
        at, before, rate = self._last.get(key, (now, seconds, 0.0))
        if now - at >= 1.0 or key not in self._last:
            rate = max(0.0, (seconds - before) / (now - at)) if now > at else 0.0
            self._last[key] = (now, seconds, rate)
        return round(rate, 4)

    def forget(self, keep: Iterable[str]) -> None:
        """Drop the readings of all that is not in ``keep``."""
        kept = set(keep)
        self._last = {key: value for key, value in self._last.items() if key in kept}


def node_use(meter: Meter, disk_path: str) -> NodeUse:
    """Return what this node has and uses; ``disk_path`` is on the disk that apps fill."""
    fields = [int(n) for n in _read("/proc/stat").partition("\n")[0].split()[1:9]]
    # user nice system idle iowait irq softirq steal
    busy = (sum(fields) - fields[3] - fields[4]) / _TICKS
    memory: dict[str, int] = {}
    for line in _read("/proc/meminfo").split("\n")[:8]:
        name, _, rest = line.partition(":")
        memory[name] = int(rest.split()[0]) * 1024 if rest else 0
    total, available = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
    disk = os.statvfs(disk_path)
    # As df counts: what is reserved for root is neither there nor free.
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    cores = len(os.sched_getaffinity(0))
    cpu = meter.rate("node", busy, time.monotonic())
    return NodeUse(cores, min(cpu, cores), total, total - available, used + disk.f_bavail * disk.f_frsize, used)


def own_memory() -> int:
    """Return the resident memory of this process."""
    return int(_read("/proc/self/statm").split()[1]) * _PAGE


def cgroup_use(meter: Meter, key: str, pid: int) -> Use | None:
    """Return what the cgroup of a container's first process uses; None when it is gone."""
    try:
        memory_dir, cpu_dir, v2 = cgroup_of(_read(f"/proc/{pid}/cgroup"))
        if v2:
            used = int(_read(f"{memory_dir}/memory.current"))
            cold = _stat(_read(f"{memory_dir}/memory.stat"), "inactive_file")
            cpu = _stat(_read(f"{cpu_dir}/cpu.stat"), "usage_usec") / 1e6
        else:
            used = int(_read(f"{memory_dir}/memory.usage_in_bytes"))
            cold = _stat(_read(f"{memory_dir}/memory.stat"), "total_inactive_file")
            cpu = int(_read(f"{cpu_dir}/cpuacct.usage")) / 1e9
    except (OSError, ValueError):
        return None
    # The page cache that nobody has touched for a while would be given up at once: it is not counted as used.
    return Use(meter.rate(key, cpu, time.monotonic()), max(0, used - cold))


def cgroup_of(text: str) -> tuple[str, str, bool]:
    """Return the directories with the memory and the CPU figures, and whether they are of version 2.

    ``text`` is a /proc/PID/cgroup. Both versions may be mounted at once: a controller is in only one of them.
    """
    version_2 = ""
    by_controller: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            version_2 = path
        for controller in controllers.split(","):
            by_controller[controller] = f"{_CGROUPS}/{controllers}{path}"
    if "memory" in by_controller:
        return by_controller["memory"], by_controller.get("cpuacct", ""), False
    return f"{_CGROUPS}{version_2}", f"{_CGROUPS}{version_2}", True


def sessions_use(meter: Meter, sessions: dict[int, str]) -> dict[str, Use]:
    """Return what all processes of each session use, summed; ``sessions`` maps session id to a key."""
    sums: dict[str, list[float]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            fields = _read(f"/proc/{name}/stat").rpartition(")")[2].split()
        except OSError:
            continue
        key = sessions.get(int(fields[3]))
        if key is not None:
            total = sums.setdefault(key, [0.0, 0.0])
            total[0] += (int(fields[11]) + int(fields[12])) / _TICKS
            total[1] += int(fields[21]) * _PAGE
    now = time.monotonic()
    return {key: Use(meter.rate(key, cpu, now), int(memory)) for key, (cpu, memory) in sums.items()}


def _stat(text: str, name: str) -> int:
    for line in text.split("\n"):
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
