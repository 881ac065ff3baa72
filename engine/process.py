"""The engine process: puts the parts of the straight line together and runs them until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import uvloop
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from automator67.engine.control import Control
from automator67.engine.deliveries import take_deliveries
from automator67.engine.inbox import Inbox, Waker
from automator67.engine.loop import Loop
from automator67.engine.nodes.certificates import Authority
from automator67.engine.nodes.endpoint import Endpoint
from automator67.engine.nodes.registry import Registry
from automator67.engine.nodes.tasks import TaskBroker
from automator67.engine.options import Options
from automator67.engine.poster import Poster
from automator67.engine.reconcile import Outcome, Reconciler
from automator67.engine.source import open_source
from automator67.engine.store.database import Store, StoreUnavailable, open_store
from automator67.engine.store.facts import fact, set_fact

log = logging.getLogger("automator67.engine")

FLUSH_SECONDS = 1.0


class EngineError(Exception):
    """The engine cannot start; one line for a person."""


def run_engine(options: Options) -> None:
    """Run until SIGTERM or SIGINT. Raises EngineError when it cannot start."""
    options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _only_one(options.state):
        try:
            store = open_store(options.store_url)
        except StoreUnavailable as error:
            raise EngineError(str(error)) from error
        with store:
            uvloop.run(_serve(options, store))


@contextlib.contextmanager
def _only_one(state: Path) -> Any:
    """Hold the state directory's lock: two engines on one state would contradict each other."""
    handle = os.open(state / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise EngineError(f"another engine runs on {state}; stop it, or choose another --state") from error
    else:
        yield
    finally:
        os.close(handle)
