"""The names Caddy asks for, and what they stand for. Pure.

    HOST.g.a67, APP.ga.a67      SRV: where a gateway sends a request for a host, or for an app
    HOST.m.a67, APP.ma.a67      SRV: the proxies of other nodes that run copies
    HOST.h.a67, APP.ha.a67      SRV: the copies on this node, for its proxy
    HOST.f.a67, APP.fa.a67      SRV: copies with a URL of their own, by their public names
    7f000001.a67                A: an address, written in the name (32 digits: AAAA)
    NODE.node.a67               A, AAAA: where the proxy of a node is

A host that needs a decision by request stands for the gate. An answer is never empty for a name that is known: Caddy
would go on with the last one. An app that has nobody to take requests is, for a while, at an address where nobody
listens, so that requests wait for the next copy instead of failing; then at the gate, which says sorry.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from typing import NamedTuple

from automator67.agent.edge import dns
from automator67.agent.edge.balance import (
    MOST_RECORDS,
    Place,
    far_places,
    local_places,
    multiplicities,
    node_places,
    places,
)
from automator67.agent.edge.gate import simple
from automator67.agent.edge.table import Table, split

ROOT = "a67"
NOBODY = 1
"""A port where nobody listens."""

Resolve = Callable[[str], list[str]]
"""Returns the addresses of a host name as last looked up."""


class Standing(NamedTuple):
    """What is known besides the table: nodes whose proxy is down, apps whose requests wait, ports of Caddy's here."""

    down: Collection[str]
    held: Collection[str]
    gate: int
    mesh: int
    far: int


def records(
    table: Table, name: str, kind: int, standing: Standing, chance: float, resolve: Resolve
) -> list[dns.Service] | list[str] | None:
    """Return what a name stands for, None when it is unknown; ``chance`` is uniform in [0, 1)."""
    rest, _, root = name.rpartition(".")
    if root != ROOT:
        return None
    key, _, zone = rest.rpartition(".")
    if not key:
        return [] if kind == dns.SRV else _written(rest)
    if zone == "node":
        return _node(table, key, resolve) if kind in (dns.A, dns.AAAA) else []
    if zone not in ("g", "ga", "m", "ma", "h", "ha", "f", "fa"):
        return None
    if kind != dns.SRV:
        return []
    if zone == "g" and not simple(table, key):
        return [_here(standing.gate)]
    app = key if zone in ("ga", "ma", "ha", "fa") else _root_app(table, key)
    if zone in ("g", "ga"):
        found = places(table, app, standing.down, standing.mesh, standing.far)
    elif zone in ("f", "fa"):
        return _by_name(far_places(table, app, chance), name) or [_here(NOBODY)]
    elif zone in ("m", "ma"):
        found = node_places(table, app, standing.down)
    else:
        found = local_places(table, app)
    if not found:
        return [_here(standing.gate if zone == "g" and app not in standing.held else NOBODY)]
    return _services(found, name, chance)


def _root_app(table: Table, host: str) -> str:
    """Return the app of a host that is asked for by host alone; gateways say the app where paths tell."""
    return next((s.app for s in table.sites_of(host) if not s.path), "")


def _services(found: list[Place], name: str, chance: float) -> list[dns.Service]:
    services = [dns.Service(f"{p.host}.node.{ROOT}" if p.node else _as_name(p.host), p.port) for p in found]
    most = min(MOST_RECORDS, dns.room(name, max((s.target for s in services), key=len)))
    counts = multiplicities({n: p.weight for n, p in enumerate(found)}, chance, most)
    return [service for n, service in enumerate(services) for _ in range(counts.get(n, 0))]


def _by_name(found: list[Place], name: str) -> list[dns.Service]:
    """Return records in the order in which they are to be tried."""
    most = dns.room(name, max((p.host for p in found), key=len)) if found else 0
    return [dns.Service(p.host, p.port, n) for n, p in enumerate(found[: min(MOST_RECORDS, most)])]


def _here(port: int) -> dns.Service:
    return dns.Service(_as_name("127.0.0.1"), port)


def _as_name(address: str) -> str:
    packed = ipaddress.ip_address("127.0.0.1" if address == "localhost" else address).packed
    return f"{packed.hex()}.{ROOT}"


def _written(label: str) -> list[str] | None:
    try:
        return [str(ipaddress.ip_address(bytes.fromhex(label)))]
    except ValueError:
        return None


def _node(table: Table, node: str, resolve: Resolve) -> list[str] | None:
    address = table.nodes.get(node)
    if address is None:
        return None
    host = split(address)[0]
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        return resolve(host)
