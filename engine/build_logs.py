"""Logs of builds: passed on as they come, and their ends kept in files of the engine's state directory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]

KEPT_BYTES = 256 * 1024
KEPT_FILES = 200


class BuildLog:
    """The log of one build that is under way; only its end is held. For the event loop's thread."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, Line]] = deque()
        self._size = self._count = 0
        self._changed = asyncio.Event()
        self.ended = False

    def add(self, line: Line) -> None:
        """Add a line."""
        size = len(str(line.get("m", ""))) + 32
        self._lines.append((size, line))
        self._size += size
        self._count += 1
        while self._size > KEPT_BYTES:
            self._size -= self._lines.popleft()[0]
        self._wake()

    def end(self) -> None:
        """Say that no more comes."""
        self.ended = True
        self._wake()

    def lines(self) -> list[Line]:
        """Return what is held."""
        return [line for _, line in self._lines]

    async def follow(self) -> AsyncIterator[list[Line]]:
        """Yield what is held, then what comes, until the build has ended."""
        seen = 0
        while True:
            new = min(self._count - seen, len(self._lines))
            seen = self._count
            if new:
                yield self.lines()[-new:]
            elif self.ended:
                return
            else:
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class BuildLogs:
    """Logs by the image that was built."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.running: dict[str, BuildLog] = {}

    def keep(self, image: str, log: BuildLog) -> None:
        """Write the end of a log to its file; the oldest files beyond ``KEPT_FILES`` go."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = self._file(image)
        new = place.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in log.lines()), encoding="utf-8")
        new.replace(place)
        files = sorted(self._directory.glob("*.log"), key=lambda f: f.stat().st_mtime)
        for old in files[:-KEPT_FILES]:
            old.unlink(missing_ok=True)

    def read(self, image: str) -> list[Line]:
        """Return the kept end of a log, nothing where there is none."""
        with contextlib.suppress(OSError, ValueError):
            return [json.loads(line) for line in self._file(image).read_text(encoding="utf-8").splitlines()]
        return []

    def _file(self, image: str) -> Path:
        return self._directory / f"{re.sub('[^a-z0-9._-]', '-', image.partition('/')[2])}.log"
