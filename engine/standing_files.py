"""How the breakers of other processes stand: each writes a file, and the engine reads them all.

A file that nobody has written for a while is of a process that is gone.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from automator67.engine.circuit import Standing
from automator67.engine.durable import replace

log = logging.getLogger("automator67.breakers")

EVERY_SECONDS = 20.0
FRESH_SECONDS = 60.0
MAX_BYTES = 256 * 2**10
ENDING = ".breakers.json"


class StandingFile:
    """The file of one process: written when something changes, and every ``EVERY_SECONDS``."""

    def __init__(self, directory: Path, name: str) -> None:
        self._path = directory / f"{name}{ENDING}"
        self._written: tuple[Standing, ...] | None = None
        self._at = 0.0

    def tell(self, standings: tuple[Standing, ...]) -> None:
        """Write how all breakers stand, if that is news. Raises OSError."""
        if standings == self._written and time.monotonic() - self._at < EVERY_SECONDS:
            return
        replace(self._path, json.dumps([asdict(s) for s in standings]).encode())
        self._written, self._at = standings, time.monotonic()

    def remove(self) -> None:
        """Take the file away: the process ends."""
        self._path.unlink(missing_ok=True)


def read_standings(directory: Path) -> Iterable[Standing]:
    """Yield how the breakers of all processes stand that wrote into a directory lately."""
    for path in sorted(directory.glob(f"*{ENDING}")):
        try:
            about = path.stat()
            if time.time() - about.st_mtime > FRESH_SECONDS or about.st_size > MAX_BYTES:
                continue
            yield from [Standing(**entry) for entry in json.loads(path.read_text())]
        except (OSError, ValueError, TypeError) as error:
            log.debug("%s cannot be read: %s", path, error)
