"""What a person may ask of nodes while the engine runs: a token to join with, and to be cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from automator67.engine.clock import steady_now
from automator67.engine.control import ControlError
from automator67.engine.desired import Desired
from automator67.engine.nodes.certificates import Authority
from automator67.engine.nodes.registry import Registry
from automator67.engine.nodes.tokens import make_token
from automator67.engine.store.database import Store


class NodeActions:
    """Hands requests of the control socket on; both methods raise ControlError.

    ``desired`` returns the present commit's state, ``url`` is where agents reach the engine.
    """

    def __init__(
        self, store: Store, registry: Registry, authority: Authority, desired: Callable[[], Desired | None],
        url: Callable[[], str], changed: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._store, self._registry, self._authority = store, registry, authority
        self._desired, self._url, self._changed = desired, url, changed

    async def token(self, node: str, ttl: float) -> Mapping[str, Any]:
        """Return a new join token for a node that is valid for ``ttl`` seconds."""
        desired = self._desired()
        if desired is not None and node in desired.nodes and (kind := desired.nodes[node].kind) != "agent":
            raise ControlError(f"node {node} is of kind {kind}: no agent can join as it")

        def make() -> Mapping[str, Any]:
            with self._store.begin() as tx:
                token = make_token(tx, node, self._authority.fingerprint, steady_now(), ttl)
            return {"token": token.text, "node": token.node, "expires": token.expires}

        try:
            made = await asyncio.to_thread(make)
        except ValueError as error:
            raise ControlError(str(error)) from error
        return {**made, "url": self._url()}

    async def revoke(self, node: str) -> Mapping[str, Any]:
        """Cut a node off, for good."""
        if not await asyncio.to_thread(self._registry.revoke, node):
            raise ControlError(f"no node {node} has joined; see automator67 node list")
        await asyncio.to_thread(self._authority.set_revoked, node, steady_now())
        self._changed(f"node {node} was revoked")
        return {"node": node}
