"""The names Caddy asks for, and what they stand for. Pure.

    HOST.h.a67, APP.ha.a67      SRV: the copies on this node of the app of a host, or of an app
    HOST.m.a67, APP.ma.a67      SRV: the nodes that run copies
    7f000001.a67                A: an address, written in the name (32 digits: AAAA)
    NODE.node.a67               A, AAAA: where the proxy of a node is

An answer is never empty for a name that is known: Caddy would go on with the last one. An app that has nobody to
take requests is at an address where nobody listens, so that requests wait for the next copy instead of failing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection

from automator67.agent.edge import dns
from automator67.agent.edge.balance import Place, local_places, multiplicities, node_places
from automator67.agent.edge.table import Table

ROOT = "a67"
_NOBODY = dns.Service(f"7f000001.{ROOT}", 1)

Resolve = Callable[[str], list[str]]
"""Returns the addresses of a host name as last looked up."""


def records(
    table: Table, name: str, kind: int, down: Collection[str], chance: float, resolve: Resolve
) -> list[dns.Service] | list[str] | None:
    """Return what a name stands for, None when it is unknown; ``down`` are nodes whose proxy does not answer."""
    rest, _, root = name.rpartition(".")
    if root != ROOT:
        return None
    key, _, zone = rest.rpartition(".")
    if not key:
        return [] if kind == dns.SRV else _written(rest)
    if zone == "node":
        return _node(table, key, resolve) if kind in (dns.A, dns.AAAA) else []
    if zone not in ("h", "m", "ha", "ma"):
        return None
    if kind != dns.SRV:
        return []
    app = key if zone in ("ha", "ma") else app_of(table, key)
    if app is None or app not in table.apps:
        return [_NOBODY] if app is not None else None
    direct = zone in ("h", "ha")
    places = local_places(table, app) if direct else node_places(table, app, down)
    return _services(places, direct, chance) or [_NOBODY]


def app_of(table: Table, host: str) -> str | None:
    """Return the app that has all of a host, None when there is none."""
    return next((s.app for s in table.sites_of(host) if not s.path and s.app), None)


def _services(places: list[Place], direct: bool, chance: float) -> list[dns.Service]:
    counts = multiplicities({n: p.weight for n, p in enumerate(places)}, chance)
    found = []
    for n, count in counts.items():
        name = _as_name(places[n].host) if direct else f"{places[n].host}.node.{ROOT}"
        found += [dns.Service(name, places[n].port)] * count
    return found


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
    host = address.rpartition(":")[0].strip("[]")
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        return resolve(host)
