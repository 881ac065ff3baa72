"""Runs passes when somebody asks for one, never two at a time, and again when time alone changes the plan."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from automator67.engine.clock import steady_now
from automator67.engine.reconcile import Outcome
from automator67.engine.store.database import StoreUnavailable

_T = TypeVar("_T")
log = logging.getLogger("automator67.loop")

COALESCE_SECONDS = 0.005
RETRY_SECONDS = (0.5, 30.0)


class Loop:
    """Asks ``once(now, fetch)`` for passes, in a thread of its own."""

    def __init__(self, once: Callable[[float, bool], Outcome]) -> None:
        self._once = once
        self._wanted = asyncio.Event()
        self._fetch = True
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reconcile")
        self._timer: asyncio.TimerHandle | None = None
        self._passes = 0
        self._passed = asyncio.Condition()
        self.last = Outcome()
        self.failed = 0
        self.seconds = 0.0
        """How many passes failed since the start, and how long all of them took."""

    @property
    def passes(self) -> int:
        """How many passes there were since the start."""
        return self._passes

    def request(self, reason: str, *, fetch: bool = False) -> None:
        """Ask for a pass, from any thread; ``fetch`` also looks at the remote. Requests that pile up become one."""
        log.debug("pass wanted: %s", reason)
        self._loop.call_soon_threadsafe(self._mark, fetch)

    async def sync(self) -> Outcome:
        """Ask for a pass that fetches, and return the outcome of one that began after the call."""
        target = self._passes + (2 if self._wanted.is_set() else 1)
        self._mark(True)
        async with self._passed:
            await self._passed.wait_for(lambda: self._passes >= target)
        return self.last

    async def run_blocking(self, work: Callable[[], _T]) -> _T:
        """Run something in the thread of the passes, so that it never meets one half-way."""
        return await self._loop.run_in_executor(self._thread, work)

    async def run(self) -> None:
        """Run until cancelled."""
        self._wanted.set()
        failures = 0
        while True:
            await self._wanted.wait()
            await asyncio.sleep(COALESCE_SECONDS)
            self._wanted.clear()
            fetch, self._fetch = self._fetch, False
            began = time.monotonic()
            try:
                self.last = await self.run_blocking(partial(self._once, steady_now(), fetch))
                failures = 0
            except Exception as error:
                # Whatever went wrong, the engine stays: it looks again, later and later.
                failures += 1
                self.failed += 1
                delay = min(RETRY_SECONDS[1], RETRY_SECONDS[0] * 2**failures) * random.uniform(0.5, 1)  # noqa: S311
                known = isinstance(error, StoreUnavailable)
                log.error("pass failed: %s; looking again in %.1f s", error, delay, exc_info=None if known else error)
                self.last = Outcome(error=str(error))
                self._fetch = self._fetch or fetch
                self._loop.call_later(delay, self._wanted.set)
            else:
                self._again(self.last)
            self.seconds += time.monotonic() - began
            async with self._passed:
                self._passes += 1
                self._passed.notify_all()

    def close(self) -> None:
        """Let the thread end after the pass it is in."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _mark(self, fetch: bool) -> None:
        self._fetch = self._fetch or fetch
        self._wanted.set()

    def _again(self, outcome: Outcome) -> None:
        if outcome.again:
            self._wanted.set()
        elif outcome.wake_at:
            # One timer at a time: what this pass knows of the future replaces what the last one knew.
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(max(0.02, outcome.wake_at - steady_now()), self._wanted.set)
