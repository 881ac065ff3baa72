"""Evidence that two copies never ran at the same time: each writes down, outside of all nodes, that it lives."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

_CODE = """\
import os, sys, time
path = os.path.join(sys.argv[1], os.environ["A67_NODE"] + "-" + str(os.getpid()))
with open(path, "a", buffering=1) as file:
    while True:
        file.write("%.3f\\n" % time.clock_gettime(time.CLOCK_BOOTTIME))
        time.sleep(0.02)
"""


class Life(NamedTuple):
    """One copy: where it ran, and from when until when (seconds of CLOCK_BOOTTIME)."""

    node: str
    first: float
    last: float


def witness(directory: Path, **keys: Any) -> dict[str, Any]:
    """Return an app of the process runtime whose copies write into a directory that all nodes see."""
    return {
        "runtime": "process", "command": [sys.executable, "-c", _CODE, str(directory)],
        "update": {"healthy_for": "0s", "deadline": "20s"}, "stop_timeout": "1s", "resources": {"memory": "64Mi"},
    } | keys  # fmt: skip


def lives(directory: Path) -> list[Life]:
    """Return every copy that ever ran, the earliest first."""
    found = []
    for file in directory.iterdir():
        times = [float(line) for line in file.read_text().splitlines() if line]
        if times:
            found.append(Life(file.name.rpartition("-")[0], times[0], times[-1]))
    return sorted(found, key=lambda life: life.first)


def overlaps(found: list[Life]) -> list[tuple[Life, Life]]:
    """Return the pairs of copies that lived at the same time."""
    return [(a, b) for n, a in enumerate(found) for b in found[n + 1 :] if b.first <= a.last]
