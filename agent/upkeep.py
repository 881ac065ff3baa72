"""What is done from time to time: logs rotated, images cleared away, the memory file written."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from automator67.agent import logfiles, secret_files
from automator67.agent.helper import Helper
from automator67.agent.keeper import Keeper
from automator67.agent.processes import Processes

_COLLECT_EVERY = 600.0
_COLLECT_PATIENCE = 300.0
_FORGET_EVERY = 600.0
_WRITE_RETRY = 30.0


class Upkeep:
    """For the main thread. ``post`` gets ("rotated", problem), to be handed to ``rotated``; the worker's answer to
    the job tagged ("collect",) is for whoever reads the log."""

    def __init__(
        self, keeper: Keeper, helper: Helper, processes: Processes | None, post: Callable[[tuple[Any, ...]], None]
    ) -> None:
        self._keeper, self._helper, self._processes, self._post = keeper, helper, processes, post
        self._collect_after = 0.0
        self._write_after = self._forget_after = 0.0
        self._rotating = False
        self.problem = ""
        """Why the memory file cannot be written; empty when it can."""

    def collect_images(self, now: float, disk_is_filling: bool) -> None:
        """Have images removed that nobody needs, when the disk fills."""
        snapshot = self._keeper.snapshot
        if not disk_is_filling or now < self._collect_after or snapshot is None or snapshot.health != "ok":
            return
        self._collect_after = now + _COLLECT_EVERY
        args = {"ours": self._keeper.memory.images, "now": time.time()}
        self._helper.submit("collect", args, ("collect",), _COLLECT_PATIENCE)

    def forget_secrets(self, now: float) -> None:
        """Remove files of secrets that belong to no instance any more: a crash can leave some."""
        snapshot = self._keeper.snapshot
        known = self._keeper.known()
        if now < self._forget_after or known is None or (snapshot is not None and snapshot.health != "ok"):
            return
        self._forget_after = now + _FORGET_EVERY
        member = self._keeper.membership
        with contextlib.suppress(OSError):
            secret_files.forget_all_but(member.cloud, member.node, known)

    def clear_unstarted(self) -> None:
        """Have files removed that were fetched for processes which never ran and which nobody wants any more."""
        desired = self._keeper.desired
        if self._processes is not None and desired is not None:
            busy = self._keeper.observed().busy
            self._processes.forget_unstarted({w.id for w in desired.instances} | busy)

    def rotate_logs(self) -> None:
        """Rotate logs that have become too large, in a thread."""
        large = self._processes.large_logs() if self._processes is not None and not self._rotating else []
        if large:
            self._rotating = True
            threading.Thread(target=self._rotate, args=(large,), daemon=True).start()

    def rotated(self) -> None:
        """Take up that rotating is over."""
        self._rotating = False

    def keep_memory(self, now: float) -> None:
        """Write the memory file if something in it changed."""
        if now < self._write_after:
            return
        try:
            self._keeper.memory.keep()
            self.problem, self._write_after = "", 0.0
        except OSError as e:
            self.problem, self._write_after = f"{e.strerror}: {e.filename}", now + _WRITE_RETRY

    def _rotate(self, paths: list[str]) -> None:
        problem = ""
        try:
            for path in paths:
                logfiles.rotate(path)
        except OSError as e:
            problem = f"logs cannot be rotated: {e.strerror}: {e.filename}"
        self._post(("rotated", problem))
