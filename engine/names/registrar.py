"""Keeps a keeper for every declared node that holds names, with the configuration of the newest commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from automator67.engine.apis.client import ApiError, Client
from automator67.engine.desired import Desired, Node
from automator67.engine.names.cloudflare import PROVIDER as CLOUDFLARE
from automator67.engine.names.cloudflare import CloudflareZone
from automator67.engine.names.desec import PROVIDER as DESEC
from automator67.engine.names.desec import DesecZone
from automator67.engine.names.duckdns import PROVIDER as DUCKDNS
from automator67.engine.names.duckdns import DuckDnsName
from automator67.engine.names.keeper import Desk, Keeper, Zone
from automator67.engine.names.wanted import KINDS, wanted
from automator67.engine.observed import NodeView

CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class _Running:
    keeper: Keeper
    configuration: tuple[str, ...]


class Registrar:
    """All zones of the cloud; used from the thread of the passes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._running: dict[str, _Running] = {}

    def follow(self, desired: Desired, views: Mapping[str, NodeView], secret: Callable[[str], bytes]) -> None:
        """Begin to keep zones that are new, begin anew where a file changed, leave those that are gone.

        ``secret`` returns the value of a secret by its name, or raises ApiError.
        """
        nodes = {n: node for n, node in desired.nodes.items() if node.kind in KINDS}
        for name in [n for n in self._running if n not in nodes]:
            self._leave(name)
        for name, node in nodes.items():
            self._begin(desired.settings.name, node, secret)
            if name in self._running:
                self._running[name].keeper.want(wanted(str(node.document["domain"]), desired, views))

    def close(self) -> None:
        """Stop all; the records stay."""
        for name in list(self._running):
            self._leave(name)

    def _begin(self, cloud: str, node: Node, secret: Callable[[str], bytes]) -> None:
        before = self._running.get(node.name)
        try:
            token = secret(str(node.document["token"]["secret"])).decode("ascii").strip()
            document = node.document
            configuration = (cloud, node.kind, str(document["domain"]), str(document.get("endpoint", "")), token)
            if before is not None and before.configuration == configuration:
                return
            zone = zone_of(*configuration)
        except (ApiError, UnicodeDecodeError) as error:
            # What is kept with the configuration of before goes on; where there is none, the node says why.
            if before is None:
                self._desk.unreachable(node.name, str(error) if isinstance(error, ApiError) else "the token is no text")
            return
        if before is not None:
            self._leave(node.name)
        keeper = Keeper(node.name, zone, self._desk)
        self._running[node.name] = _Running(keeper, configuration)
        keeper.start()

    def _leave(self, name: str) -> None:
        keeper = self._running.pop(name).keeper
        keeper.close()
        keeper.join(CLOSE_SECONDS)


def zone_of(cloud: str, kind: str, domain: str, endpoint: str, token: str) -> Zone:
    """Return the zone of a node. Raises ApiError."""
    if not token or not token.isprintable() or " " in token:
        raise ApiError("the token is empty or has characters that no token has")
    if kind == "cloudflare":
        header = {"Authorization": f"Bearer {token}"}
        return CloudflareZone(Client(CLOUDFLARE, lambda: header, base=endpoint), cloud, domain)
    if kind == "desec":
        login = {"Authorization": f"Token {token}"}
        return DesecZone(Client(DESEC, lambda: login, base=endpoint), cloud, domain)
    return DuckDnsName(Client(DUCKDNS, dict, base=endpoint), token, domain)
