"""What of a cloud's apps runs on this machine, as the kernel knows it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path


def running_processes(cloud: str) -> dict[int, dict[str, str]]:
    """Return every process of a cloud's apps (but probes) with its stamp, by process id."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        stamp = dict(e.decode(errors="replace").split("=", 1) for e in environment if b"=" in e)
        if stamp.get("A67_CLOUD") == cloud and "A67_PROBE" not in stamp and fields[0] not in "ZX":
            found[int(process.name)] = stamp
    return found


def running_copies(cloud: str) -> Counter[str]:
    """Return how many processes each slot (APP-SLOT) of a cloud has."""
    return Counter(e["A67_INSTANCE"].rpartition("-")[0] for e in running_processes(cloud).values())
