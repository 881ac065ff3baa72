"""Remembers deliveries already accepted, so that a repeated or replayed one is answered without an effect.

Three memories, each longer than the one before: the last keys in this process, the files in the inbox (``Inbox.put``
finds the name taken), and the ``deliveries`` table in which the engine records what it has acted upon.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.store.tables import deliveries

REMEMBERED: Final = 4096


class Seen:
    """``in_store`` looks a key up in the store; it may be slow or away, and is asked last."""

    def __init__(self, in_store: Callable[[str], bool]) -> None:
        self._in_store = in_store
        self._keys: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, key: str) -> bool:
        """Return whether the delivery was accepted before, as far as this process or the store knows."""
        with self._lock:
            if key in self._keys:
                return True
        if not self._in_store(key):
            return False
        self.remember(key)
        return True

    def remember(self, key: str) -> None:
        """Remember an accepted delivery."""
        with self._lock:
            self._keys[key] = None
            self._keys.move_to_end(key)
            while len(self._keys) > REMEMBERED:
                self._keys.popitem(last=False)


def recorded(open_readonly: Callable[[], Store]) -> Callable[[str], bool]:
    """Return a look-up in the ``deliveries`` table. A store that is away knows nothing: looking twice does no harm."""

    def look(key: str) -> bool:
        try:
            with open_readonly().read() as tx:
                return tx.scalar(select(deliveries.c.id).where(deliveries.c.id == key)) is not None
        except (StoreUnavailable, SQLAlchemyError):
            return False

    return look
