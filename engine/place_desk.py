"""What places know of the engine: where reports go, what is wanted, and the secrets that it names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from automator67.engine.desired import Origin
from automator67.engine.image_name import parse
from automator67.engine.nodes.registry import Registry
from automator67.engine.places.protocol import Message, Opened, PlaceError
from automator67.engine.registry_login import BadLogin, user_and_password
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.vault import Vault


class PlaceDesk:
    """Joins places with the registry and the secrets of the newest commit; used from the places' threads."""

    def __init__(
        self,
        registry: Registry,
        vault: Callable[[], Vault | None],
        changed: Callable[[str], None],
        redact: Callable[[Any], Any],
        beat: Callable[[], float],
    ) -> None:
        """``changed(why)`` is called for a report with something new; ``redact`` takes secrets out of free texts.

        ``beat()`` is how often a node is to report, in seconds.
        """
        self._redact = redact
        self._beat = beat
        self._registry = registry
        self._vault = vault
        self._changed = changed

    def report(self, node: str, message: Mapping[str, Any]) -> None:
        """Take a full report of a node."""
        if self._registry.place_reports(node, self._redact(message)):
            self._changed(f"node {node} reports something new")

    def unreachable(self, node: str, why: str) -> None:
        """Take notice that a node cannot be looked at."""
        if self._registry.place_fails(node, why):
            self._changed(f"node {node} cannot be looked at")

    def desired(self, node: str) -> tuple[str, Sequence[Message]] | None:
        """Return the revision and the instances that a node should run, None while that is not known."""
        desired = self._registry.desired(node)
        return None if desired is None else (desired.rev, json.loads(desired.body)["instances"])

    def beat(self) -> float:
        """Return how many seconds may pass between two reports."""
        return self._beat()

    def opened(self, message: Message) -> Opened:
        """Return the secrets that an instance's message names. Raises PlaceError when they cannot be had."""
        secrets = message.get("secrets")
        if not secrets:
            return Opened()
        written = {name: Origin(path, blob) for name, (path, blob) in secrets["written"].items()}
        env = {key: self._value(name, written).decode() for key, name in secrets["env"].items()}
        files = tuple((path, self._value(name, written)) for path, name in secrets["files"])
        login = None
        if secrets.get("registry"):
            registry = parse(str(message["image"])).registry
            try:
                login = (*user_and_password(self._value(secrets["registry"], written).decode(), registry), registry)
            except ValueError as error:
                what = error if isinstance(error, BadLogin) else "it is not text"
                raise PlaceError(f"registry: secret {secrets['registry']} cannot be used: {what}") from None
        return Opened(env, files, login)

    def secret(self, name: str) -> bytes:
        """Return the value of a secret of the newest commit. Raises PlaceError."""
        try:
            return self._present_vault().value(name)
        except SecretError as error:
            raise PlaceError(str(error)) from None

    def _value(self, name: str, written: Mapping[str, Origin]) -> bytes:
        """Return the value that a secret had in the commit of a revision."""
        if name not in written:
            raise PlaceError(f"where secret {name} was written is not known any more")
        try:
            return self._present_vault().value_at(name, written[name])
        except SecretError as error:
            raise PlaceError(str(error)) from None

    def _present_vault(self) -> Vault:
        vault = self._vault()
        if vault is None:
            raise PlaceError("no commit has been read yet")
        return vault
