"""One engine for one state directory: two would contradict each other."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class EngineError(Exception):
    """The engine cannot start; one line for a person."""


@contextlib.contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Hold the lock of a state directory, which ends with the process. Raises EngineError."""
    handle = os.open(state / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise EngineError(f"another engine runs on {state}; stop it, or choose another --state") from error
    finally:
        os.close(handle)
