"""A thread that works in turns: when it is woken, and when the turn before asked for the next."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger("automator67.turns")

AFTER_A_DEFECT = 60.0
PATIENCE = 5.0
"""How long the turn under way may take to end, seconds."""


class Turns:
    """``turn()`` does what is due; it returns after how many seconds to do so again, None: only when woken.

    What it raises is a defect: it is logged, and the next turn comes a minute later.
    """

    def __init__(self, name: str, turn: Callable[[], float | None]) -> None:
        self._name, self._turn = name, turn
        self._wanted = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin with a first turn."""
        self._wanted.set()
        self._thread.start()

    def wake(self) -> None:
        """Have a turn now."""
        self._wanted.set()

    def stop(self) -> None:
        """End after the turn under way."""
        self._stopping = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        pause: float | None = None
        while True:
            self._wanted.wait(pause)
            self._wanted.clear()
            if self._stopping:
                return
            try:
                pause = self._turn()
            except Exception:
                # One defect must not end the work for good.
                log.exception("%s: a turn failed", self._name)
                pause = AFTER_A_DEFECT
