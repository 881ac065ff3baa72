"""Makes the place of a ``kind: swarm`` node from its file."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from automator67.engine.breaker import Breaker
from automator67.engine.desired import Node
from automator67.engine.places.protocol import Place
from automator67.engine.places.swarm.connection import Credentials
from automator67.engine.places.swarm.place import SwarmPlace


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where a manager is and how to speak to it."""

    url: str
    credentials: Credentials | None


def configure(node: Node, secret: Callable[[str], bytes]) -> Configuration:
    """Return a node's configuration with its secrets opened. Raises what ``secret`` raises."""
    tls = node.document.get("tls")
    credentials = None
    if tls:
        ca, certificate, key = (secret(tls[part]["secret"]) for part in ("ca", "certificate", "key"))
        credentials = Credentials(ca, certificate, key)
    return Configuration(str(node.document["url"]), credentials)


def make(name: str, cloud: str, configuration: Hashable, breaker: Breaker) -> Place:
    """Return the place. Raises PlaceError when its credentials cannot be used."""
    assert isinstance(configuration, Configuration)
    return SwarmPlace(name, cloud, configuration.url, configuration.credentials, breaker)
