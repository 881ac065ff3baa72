"""Writes down what people do to running apps, before it is done: no record, no deed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from automator67.engine.clock import steady_now
from automator67.engine.control import ControlError
from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.store.facts import AUDITED, add_events

log = logging.getLogger("automator67.audit")

Audit = Callable[[str, str], Awaitable[None]]
"""Writes (resource, message) into the history. Raises ControlError when that is not possible."""


def audit_into(store: Store, redact: Callable[[str], str]) -> Audit:
    """Return what writes into a store, without the values of secrets."""

    async def audit(resource: str, message: str) -> None:
        text = redact(message)

        def write() -> None:
            with store.begin() as tx:
                add_events(tx, [(steady_now(), AUDITED, resource, text, "")])

        log.info("%s: %s", resource, text, extra={"resource": resource})
        try:
            await asyncio.to_thread(write)
        except StoreUnavailable as error:
            raise ControlError(f"nothing is run that cannot be written down: {error}") from error

    return audit
