"""Log lines: time, level, room, message, and the commit and resource they are about."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

_FIELDS = ("resource", "commit", "node")
_redact: list[Callable[[str], str]] = []
_CONTROL = {c: f"\\x{c:02x}" for c in [*range(32), 127] if c != 9}


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        about = [f"{name}={_short(name, value)}" for name in _FIELDS if (value := getattr(record, name, ""))]
        room = record.name.removeprefix("automator67.")
        # A line of ours is one line: what came from outside cannot forge another.
        message = record.getMessage().translate(_CONTROL)
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():<7} {room}: {message}"
        if about:
            line += "  " + " ".join(about)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        for redact in _redact:
            line = redact(line)
        return line


def setup_logging() -> None:
    """Log to stderr at ``$A67_LOG`` (default info)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    level = os.environ.get("A67_LOG", "info").upper()
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("automator67").setLevel(level if level in logging.getLevelNamesMapping() else "INFO")


def redact_with(redact: Callable[[str], str]) -> None:
    """Let every line of this process go through ``redact``, which takes out what nobody may read."""
    _redact[:] = [redact]


def _short(name: str, value: object) -> str:
    text = str(value).translate(_CONTROL)
    return text[:10] if name == "commit" else text
