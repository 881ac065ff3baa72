"""Keeps the zones of a cloud: every node that holds names, with the configuration of the newest commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from automator67.engine.apis.client import Client
from automator67.engine.apis.keeper import Desk, Done, Keeper
from automator67.engine.apis.keepers import Configuration, Keepers, token_of
from automator67.engine.breaker import Breaker, Breakers
from automator67.engine.desired import Desired, Node
from automator67.engine.names.cloudflare import PROVIDER as CLOUDFLARE
from automator67.engine.names.cloudflare import CloudflareZone
from automator67.engine.names.desec import PROVIDER as DESEC
from automator67.engine.names.desec import DesecZone
from automator67.engine.names.duckdns import PROVIDER as DUCKDNS
from automator67.engine.names.duckdns import DuckDnsName
from automator67.engine.names.wanted import KINDS, Changes, Wanted, wanted
from automator67.engine.names.worker import FarSite
from automator67.engine.observed import NodeView

log = logging.getLogger("automator67.names")


class Zone(Protocol):
    """A provider's zone."""

    def follow(self, want: Wanted) -> Changes:
        """Bring it to what is wanted; return what was done. Raises ApiError."""

    def close(self) -> None:
        """Let go of the connection; a call that waits ends soon."""


class Registrar:
    """All zones of the cloud; used from the thread of the passes."""

    def __init__(self, desk: Desk, breakers: Breakers) -> None:
        self._keepers: Keepers[Wanted] = Keepers(desk, _keeper_for(desk, breakers))

    def follow(
        self,
        desired: Desired,
        views: Mapping[str, NodeView],
        far: Sequence[FarSite],
        secret: Callable[[str], bytes],
    ) -> None:
        """Follow a commit, gateways as they are judged now, and copies at providers.

        ``secret`` returns the value of a secret by its name, or raises ApiError.
        """
        nodes = {name: node for name, node in desired.nodes.items() if node.kind in KINDS}
        self._keepers.only(set(nodes))
        for name, node in nodes.items():
            by_worker = far if node.document.get("worker") else None
            want = wanted(str(node.document["domain"]), desired, views, by_worker)
            self._keepers.keep(name, partial(_configuration, desired.settings.name, node, secret), want)

    def close(self) -> None:
        """Stop all; the records stay."""
        self._keepers.only(set())


def _configuration(cloud: str, node: Node, secret: Callable[[str], bytes]) -> Configuration:
    d = node.document
    token = token_of(secret, str(d["token"]["secret"]))
    return cloud, node.kind, str(d["domain"]), str(d.get("endpoint", "")), token


def _keeper_for(desk: Desk, breakers: Breakers) -> Callable[[str, Configuration], Keeper[Wanted]]:
    def make(name: str, configuration: Configuration) -> Keeper[Wanted]:
        zone = zone_of(configuration, breakers.before(f"node/{name}", f"node {name}"))
        return Keeper(name, lambda want: keep(name, zone, want), zone.close, desk)

    return make


def keep(name: str, zone: Zone, want: Wanted) -> Done:
    """Bring a zone to what is wanted, and tell what was done. Raises ApiError."""
    did = zone.follow(want)
    for verb, records in (("added", did.add), ("removed", did.remove)):
        for record in records:
            log.info("%s: %s %s %s %s", name, verb, record.name, record.type, record.content)
    if did.worker:
        log.info("%s: the Worker is %s", name, did.worker)
    foreign = (f"{host} has records that are not ours: they are left as they are" for host in did.foreign)
    return Done((*want.troubles, *foreign))


def zone_of(configuration: Configuration, breaker: Breaker) -> Zone:
    """Return the zone of a node. Raises ApiError."""
    cloud, kind, domain, endpoint, token = configuration
    if kind == "cloudflare":
        header = {"Authorization": f"Bearer {token}"}
        return CloudflareZone(Client(CLOUDFLARE, lambda: header, base=endpoint, breaker=breaker), cloud, domain)
    if kind == "desec":
        login = {"Authorization": f"Token {token}"}
        return DesecZone(Client(DESEC, lambda: login, base=endpoint, breaker=breaker), cloud, domain)
    return DuckDnsName(Client(DUCKDNS, dict, base=endpoint, breaker=breaker), token, domain)
