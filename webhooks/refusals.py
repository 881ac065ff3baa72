"""Logs refused deliveries: few lines however many come, nothing of their bodies, nothing that can forge a line."""

from __future__ import annotations

import logging
import threading
from typing import Final

WINDOW_SECONDS: Final = 60.0
LINES_PER_WINDOW: Final = 10
_LONGEST: Final = 120

log = logging.getLogger("automator67.webhooks")


class RefusalLog:
    """At most ``LINES_PER_WINDOW`` lines in a window; the first line of the next one says how many were left out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._window_end = 0.0
        self._lines = 0
        self._left_out = 0

    def add(self, forge: str, client: str, reason: str, status: int, now: float) -> None:
        """Log one refusal; ``now`` is a time in seconds that never goes back."""
        with self._lock:
            left_out = 0
            if now >= self._window_end:
                left_out, self._left_out, self._lines = self._left_out, 0, 0
                self._window_end = now + WINDOW_SECONDS
            if self._lines >= LINES_PER_WINDOW:
                self._left_out += 1
                return
            self._lines += 1
        if left_out:
            log.warning("%d more webhook deliveries were refused", left_out)
        log.warning("webhook refused: %s from %s: %s (%d)", one_line(forge), one_line(client), one_line(reason), status)


def one_line(text: str) -> str:
    """Return ``text`` with everything escaped that is not printable, cut to a length that fits a line."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:_LONGEST])
    return escaped if len(text) <= _LONGEST else escaped + "…"
