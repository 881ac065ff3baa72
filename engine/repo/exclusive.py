"""One writer at a time for a bare repository of ours, across threads and processes."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automator67.engine.remote_errors import MirrorFailed


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Be the only writer of the repository at ``path``, which need not exist yet; waits for another to end.

    What a killed writer left half-done is cleared away first; its lock went with it. Raises MirrorFailed when the
    place cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MirrorFailed(f"{path.parent} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear_leftovers(path)
        yield
    finally:
        os.close(lock)


def _clear_leftovers(path: Path) -> None:
    for left in path.parent.glob(f"{glob.escape(path.name)}.new-*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in (path / "objects" / "pack").glob("pack_git2_*"):
        left.unlink(missing_ok=True)
    for left in (*path.glob("*.lock"), *path.glob("refs/**/*.lock")):
        left.unlink(missing_ok=True)
