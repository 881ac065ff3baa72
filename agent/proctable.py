"""Finds processes again: by id and start time, and by the stamp in their environment."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_OURS = b"A67_"
_ENVIRON_CHUNK = 65536


class Process(NamedTuple):
    """A live process. ``start`` is in clock ticks since boot: with the id it names a process for good."""

    pid: int
    state: str
    session: int
    start: int

    @property
    def started(self) -> float:
        """When it started, in seconds since the epoch."""
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + self.start / _TICKS


def look(pid: int) -> Process | None:
    """Return the process with an id, or None when there is none; one that only waits to be reaped is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, fields[0], int(fields[3]), int(fields[19]))


def is_alive(pid: int, start: int) -> bool:
    """Whether the very process lives (ids are used again)."""
    found = look(pid)
    return found is not None and found.start == start


def stamp(pid: int) -> dict[str, str]:
    """Return our variables of the environment a process began with, where it may be read.

    The others may be secrets, and this process is to hold none: they are seen in a buffer that is cleared at once.
    """
    found: dict[str, str] = {}
    buffer = bytearray(_ENVIRON_CHUNK)
    kept, foreign = 0, False
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            while count := file.readinto(memoryview(buffer)[kept:]):
                at, end = 0, kept + count
                while (stop := buffer.find(b"\0", at, end)) >= 0:
                    if not foreign and buffer.startswith(_OURS, at):
                        key, _, value = buffer[at:stop].decode(errors="replace").partition("=")
                        found[key] = value
                    at, foreign = stop + 1, False
                # What is cut off at the end goes on in the next piece.
                kept = end - at if not foreign and buffer[at : min(end, at + 4)] == _OURS[: end - at] else 0
                foreign = end > at and not kept
                if kept == len(buffer):
                    return found
                buffer[:kept] = buffer[at : at + kept]
    except OSError:
        return {}
    finally:
        buffer[:] = bytes(len(buffer))
    return found


def stamped(cloud: str, node: str) -> dict[int, dict[str, str]]:
    """Return the environments of all live processes that carry this cloud's and node's stamp, by process id."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            env = stamp(int(name))
            if env.get("A67_CLOUD") == cloud and env.get("A67_NODE") == node and env.get("A67_INSTANCE"):
                found[int(name)] = env
    return {pid: env for pid, env in found.items() if look(pid) is not None}


def boot_id() -> str:
    """Return what names this boot of the machine."""
    return _read("/proc/sys/kernel/random/boot_id")


def new_id() -> str:
    """Return a random name, different every time."""
    return _read("/proc/sys/kernel/random/uuid")


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()
