"""The log files of processes: bounded by rotation, read from the end.

A process keeps its log open, so its file is never renamed: it is copied to the next name and then emptied. What the
process writes between the two (well under a millisecond) is lost.
"""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO

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


def pieces(path: str, lines: int, since: float = 0.0) -> list[tuple[str, int, int]]:
    """Return where the last ``lines`` lines of a log are (all of them when negative), oldest first, as (file, start,
    end) in bytes, looking into rotated files as far as needed; none of files last changed before ``since``.
    """
    found: list[tuple[str, int, int]] = []
    for name in (path, *(f"{path}.{n}" for n in range(1, FILES))):
        try:
            with open(name, "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_mtime < since:
                    found.insert(0, (name, status.st_size, status.st_size))
                    break
                start, lines = _start_of(file, status.st_size, lines)
        except FileNotFoundError:
            continue
        found.insert(0, (name, start, status.st_size))
        if lines == 0:
            break
    return found


def _start_of(file: BinaryIO, size: int, lines: int) -> tuple[int, int]:
    """Return where the last ``lines`` lines of a file begin, and how many it lacks; memory stays small."""
    if lines < 0:
        return 0, lines
    at = size if lines else 0
    while at > 0:
        step = min(at, 64 * 1024)
        at -= step
        file.seek(at)
        data = file.read(step)
        # A line begins after every line end but the one at the very end of the file.
        end = len(data) - 1 if at + step == size else len(data)
        while (end := data.rfind(b"\n", 0, end)) >= 0:
            lines -= 1
            if lines == 0:
                return at + end + 1, 0
    return (0, lines - 1) if size and lines else (size, lines)


def tail(path: str, lines: int) -> list[str]:
    """Return the last lines of a log, looking into rotated files as far as needed."""
    found: list[str] = []
    for name, start, end in pieces(path, lines):
        with contextlib.suppress(FileNotFoundError), open(name, "rb") as file:
            file.seek(start)
            found += file.read(end - start).decode(errors="replace").splitlines()
    return found


def last_line(*paths: str) -> str:
    """Return the last line with something in it of the first log that has one, cut to 300 characters."""
    for path in paths:
        for line in reversed(tail(path, 20)):
            if line.strip():
                return line.strip()[:300]
    return ""
