"""What the edge of a node is told: sites, where their apps run, other nodes, and what runs here. Pure.

The agent writes it as a file whenever something in it changes (docs/protocol.md, "edge"); the edge only reads it, so
that it goes on serving while the agent or the engine is away.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_HOST = re.compile(
    r"(?=.{1,200}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE
)


class TableError(Exception):
    """The table cannot be understood; the text says where."""


class Site(NamedTuple):
    """A public name, or the part of one below ``path``.

    ``redirect`` is the name to send people to instead. ``allow`` are networks that may pass (empty: all), ``basic``
    maps the people who may pass to the hash of their password (empty: nobody is asked). ``tls`` says who signs the
    certificate: ``acme`` or ``internal``.
    """

    host: str
    path: str
    app: str
    redirect: str
    allow: tuple[str, ...]
    basic: Mapping[str, str]
    tls: str


class Target(NamedTuple):
    """An instance that takes requests now; of two, one with twice the ``weight`` gets twice as many.

    ``address``: where it is reached without a proxy, since its node has none (``HOST:PORT``, plain HTTP); else empty.
    ``remote``: where it is reached by its own name and certificate (``HOST:PORT``, HTTPS), as a provider's URL is;
    ``standby``: only where no other copy can be reached, since a request would wake it.
    """

    instance: str
    node: str
    weight: int
    address: str = ""
    remote: str = ""
    standby: bool = False


class Local(NamedTuple):
    """An instance on this node: ``HOST:PORT``, and whether it is healthy as this node sees it."""

    address: str
    up: bool


class Gateway(NamedTuple):
    """What a node that takes public traffic needs besides: the contact for certificates."""

    acme_email: str


class Table(NamedTuple):
    """All an edge knows.

    ``sites`` by host, the longest path first; ``apps``: who takes requests; ``nodes``: ``HOST:PORT`` of their proxies;
    ``peers``: SHA-256 of the certificates that may use this node's proxy; ``local``: what runs here.
    """

    node: str
    gateway: Gateway | None
    sites: Mapping[str, tuple[Site, ...]]
    apps: Mapping[str, tuple[Target, ...]]
    nodes: Mapping[str, str]
    peers: tuple[str, ...]
    local: Mapping[str, Local]

    def sites_of(self, host: str) -> tuple[Site, ...]:
        """Return the sites of a name, the longest path first; ``*.example.org`` stands for one more label."""
        label, _, rest = host.partition(".")
        if not label or label == "*":
            return ()
        return self.sites.get(host) or self.sites.get(f"*.{rest}", ())


def split(address: str) -> tuple[str, int]:
    """Return host (maybe empty) and port of ``HOST:PORT`` or ``[IPv6]:PORT``. Raises ValueError without a port."""
    host, _, port = address.rpartition(":")
    if not port.isascii() or not port.isdigit():
        raise ValueError(f"the address {address!r}")
    return host.strip("[]"), int(port)


def parse(doc: Mapping[str, Any]) -> Table:
    """Return the table in a JSON object. Raises TableError."""
    try:
        gateway = doc.get("gateway")
        return Table(
            str(doc["node"]),
            Gateway(str(gateway.get("acme_email", ""))) if isinstance(gateway, dict) else None,
            _by_host([_site(s) for s in doc.get("sites", ())]),
            {
                str(app): tuple(
                    Target(
                        str(t["instance"]),
                        str(t["node"]),
                        _weight(t),
                        _direct(t.get("address", "")),
                        _remote(t.get("remote", "")),
                        bool(t.get("standby", False)),
                    )
                    for t in targets
                )
                for app, targets in doc.get("apps", {}).items()
            },
            {str(k): _address(v) for k, v in doc.get("nodes", {}).items()},
            tuple(str(p) for p in doc.get("peers", ())),
            {str(k): Local(_local_address(v["address"]), bool(v["up"])) for k, v in doc.get("local", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise TableError(f"the edge's table cannot be understood: {type(e).__name__}: {e}") from None


def _by_host(sites: list[Site]) -> dict[str, tuple[Site, ...]]:
    found: dict[str, tuple[Site, ...]] = {}
    for site in sorted(sites, key=lambda s: -len(s.path)):
        found[site.host] = (*found.get(site.host, ()), site)
    return found


def _site(s: Mapping[str, Any]) -> Site:
    site = Site(
        str(s["host"]).lower(),
        str(s.get("path", "")).rstrip("/"),
        str(s.get("app", "")),
        str(s.get("redirect", "")),
        tuple(str(ipaddress.ip_network(n, strict=False)) for n in s.get("allow", ())),
        {str(k): str(v) for k, v in s.get("basic", {}).items()},
        str(s.get("tls", "acme")),
    )
    if not site.host or (site.path and not site.path.startswith("/")) or site.tls not in ("acme", "internal"):
        raise ValueError(f"the site {site.host}{site.path} ({site.tls})")
    if not all(site.basic.values()):
        raise ValueError(f"a user of {site.host} has no password")
    return site


def _weight(target: Mapping[str, Any]) -> int:
    weight = int(target.get("weight", 1))
    if weight < 0:
        raise ValueError(f"the weight {weight} of {target['instance']}")
    return weight


def _direct(value: Any) -> str:
    """Return an address without a proxy; it must be one of numbers, since it is not looked up."""
    if value:
        ipaddress.ip_address(split(_address(value))[0])
    return str(value)


def _remote(value: Any) -> str:
    """Return ``HOST:PORT`` with a host that can be a name of the DNS, since Caddy looks it up and asks for it."""
    if value and not _HOST.fullmatch(split(_address(value))[0]):
        raise ValueError(f"the host of {value!r}")
    return str(value).lower()


def _address(value: Any) -> str:
    """Return ``HOST:PORT`` as it is, when it is one."""
    host, port = split(str(value))
    if not host or not 0 < port < 65536:
        raise ValueError(f"the address {value!r}")
    return str(value)


def _local_address(value: Any) -> str:
    """Return ``HOST:PORT`` of this machine; empty where an instance does not listen."""
    if value:
        host = split(_address(value))[0]
        ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    return str(value)
