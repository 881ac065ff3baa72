"""Opens the store for reading when it is first needed, and again after it was not there."""

from __future__ import annotations

import threading
from pathlib import Path

from automator67.engine.store.database import Store, open_store


class ReadOnlyStore:
    """Calling it gives the store, opened so that the database itself refuses writes.

    Raises StoreUnavailable while there is none: the web process may be up before the engine has made it.
    """

    def __init__(self, where: str | Path) -> None:
        self._where = where
        self._lock = threading.Lock()
        self._store: Store | None = None

    def __call__(self) -> Store:
        with self._lock:
            if self._store is None:
                self._store = open_store(self._where, readonly=True)
            return self._store
