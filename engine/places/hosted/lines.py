"""Log lines of a provider that has no stream of them: asked for again and again while somebody reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from automator67.engine.places.protocol import Line

POLL_SECONDS = 5.0


class PolledLines:
    """The lines there are, and with ``follow`` those to come. ``more(since)`` asks for lines, oldest first."""

    def __init__(self, first: list[Line], more: Callable[[float], list[Line]], *, follow: bool) -> None:
        self._first, self._more, self._follow = first, more, follow
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Line]:
        lines, shown, at = self._first, set[Line](), 0.0
        while True:
            for line in lines:
                if line not in shown and not self._closed.is_set():
                    yield line
            # The last instant is asked for again: more lines of it may have come since.
            at = max((line.at for line in lines), default=at)
            shown = {line for line in lines if line.at == at} | {line for line in shown if line.at == at}
            if not self._follow or self._closed.wait(POLL_SECONDS):
                return
            lines = self._more(at)

    def close(self) -> None:
        """End the stream."""
        self._closed.set()
