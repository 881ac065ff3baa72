"""What a person may ask of alerts while the engine runs: try a target, keep quiet about something for a while."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from automator67.engine.alerts.incidents import Silence
from automator67.engine.alerts.rules import Target, rules_of
from automator67.engine.alerts.targets import SendFailed, send
from automator67.engine.clock import steady_now
from automator67.engine.control import ControlError
from automator67.engine.desired import Desired
from automator67.engine.loop import Loop
from automator67.engine.secrets.errors import SecretError
from automator67.engine.store.alerts import drop_silence, set_silence
from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.store.facts import add_events
from automator67.schemas.near import near_hint


class AlertActions:
    """Hands requests of the control socket on. ``desired``: the present commit; ``secret`` may raise SecretError."""

    def __init__(
        self, store: Store, loop: Loop, desired: Callable[[], Desired | None], secret: Callable[[str], str]
    ) -> None:
        self._store, self._loop, self._desired, self._secret = store, loop, desired, secret

    async def ask(self, verb: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        """Do ``test``, ``silence`` or ``unsilence``; return what was done. Raises ControlError."""
        if verb == "test":
            return await self._test(query.get("target", ""), dry_run="dry" in query)
        if verb not in ("silence", "unsilence"):
            raise ControlError(f"there is no {verb} of alerts")
        resource = query.get("resource", "")
        try:
            if verb == "silence":
                return await self._loop.run_blocking(lambda: self._silence(resource, query))
            return await self._loop.run_blocking(lambda: self._unsilence(resource, query))
        except StoreUnavailable as error:
            raise ControlError(str(error)) from error

    async def _test(self, name: str, *, dry_run: bool) -> Mapping[str, Any]:
        desired = self._desired()
        rules = rules_of(desired.settings.document) if desired is not None else ()
        known = {rule.target.id: rule.target for rule in rules}
        if not known:
            raise ControlError("automator67.yaml names nobody to tell: add alerts")
        target = known.get(name)
        if target is None:
            raise ControlError(f"no alert goes to {name}{near_hint(name, known)}; there is {', '.join(sorted(known))}")
        try:
            url = target.opened(self._secret)
            if not dry_run:
                await asyncio.to_thread(send, url, _message(desired.settings.name if desired else ""))
        except (SecretError, SendFailed) as error:
            raise ControlError(f"{_shown(target)} was not told: {error}") from None
        return {"target": target.id, "sent": not dry_run}

    def _silence(self, resource: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        now = steady_now()
        silence = Silence(resource, now + float(query["seconds"]), query.get("reason", ""), query.get("by", ""))
        if "dry" not in query:
            with self._store.begin() as tx:
                set_silence(tx, silence)
                add_events(tx, [(now, "silence", resource, f"by {silence.by}: {silence.reason or 'no reason'}", "")])
        self._loop.request(f"{resource} is silenced")
        return {"resource": resource, "until": silence.until}

    def _unsilence(self, resource: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        now = steady_now()
        with self._store.begin() as tx:
            if not drop_silence(tx, resource):
                raise ControlError(f"{resource} is not silenced; see automator67 alerts")
            add_events(tx, [(now, "silence", resource, f"{query.get('by', '')} ended it", "")])
        self._loop.request(f"{resource} is not silenced any more")
        return {"resource": resource}


def _shown(target: Target) -> str:
    return target.secret or "the target in automator67.yaml"


def _message(cloud: str) -> dict[str, Any]:
    return {
        "version": 1, "id": secrets.token_hex(16), "cloud": cloud, "kind": "problem", "severity": "info",
        "title": f"[{cloud}] a test", "text": "Here automator67 tells of trouble. Nothing is wrong: this is a test.",
        "incidents": [], "explained": [],
    }  # fmt: skip
