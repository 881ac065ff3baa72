"""The log files of processes: bounded by rotation, read from the end.

A process keeps its log open, so its file is never renamed: it is copied to the next name and then emptied. What the
process writes between the two (well under a millisecond) is lost.
"""

from __future__ import annotations

import contextlib
import os

LARGEST = 10 * 2**20
FILES = 3


def is_large(path: str, largest: int = LARGEST) -> bool:
    """Whether a log is due for rotation."""
    try:
        return os.stat(path).st_size > largest
    except FileNotFoundError:
        return False


def rotate(path: str, largest: int = LARGEST) -> bool:
    """Rotate a log that has become larger than ``largest`` bytes; return whether it was. Raises OSError."""
    if not is_large(path, largest):
        return False
    for number in range(FILES - 1, 1, -1):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}.{number - 1}", f"{path}.{number}")
    source = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        target = os.open(f"{path}.1", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            at = 0
            while sent := os.sendfile(target, source, at, 2**20):
                at += sent
        finally:
            os.close(target)
            # Emptied even when the disk was too full for the copy: then room matters more than old lines.
            os.ftruncate(source, 0)
    finally:
        os.close(source)
    return True


def tail(path: str, lines: int) -> list[str]:
    """Return the last lines of a log, looking into rotated files as far as needed."""
    found: list[str] = []
    for name in (path, *(f"{path}.{n}" for n in range(1, FILES))):
        if len(found) >= lines:
            break
        found = _last_lines(name, lines - len(found)) + found
    return found


def last_line(*paths: str) -> str:
    """Return the last line with something in it of the first log that has one, cut to 300 characters."""
    for path in paths:
        for line in reversed(tail(path, 20)):
            if line.strip():
                return line.strip()[:300]
    return ""


def _last_lines(path: str, lines: int) -> list[str]:
    if lines <= 0:
        return []
    try:
        with open(path, "rb") as file:
            at = file.seek(0, os.SEEK_END)
            data = b""
            while at > 0 and data.count(b"\n") <= lines:
                step = min(at, 64 * 1024)
                at -= step
                file.seek(at)
                data = file.read(step) + data
    except FileNotFoundError:
        return []
    return data.decode(errors="replace").splitlines()[-lines:]
