"""Where a request for an app may go, from the table and what is known to be down. Pure.

A copy on this node is reached directly when it listens on one of the ports that this node gives to apps; every other
copy through the proxy of its node, by mutual TLS. Which of the two a place is, Caddy tells by its port. A copy whose
node has no proxy is reached through the gateway's own, which speaks plain HTTP to any port; and with it then all copies
of the app that are here, so that shares are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from automator67.agent.edge.table import Table, Target

MOST_RECORDS = 32
"""More SRV records would make shares finer and answers too long."""


class Place(NamedTuple):
    """Somewhere to connect to, with its share: an address, or the name of a node (``node`` is True)."""

    host: str
    port: int
    weight: int
    node: bool = False


def local_places(table: Table, app: str) -> list[Place]:
    """Return where this node's proxy finds copies: those here that are not down, unless all are, and those without
    a proxy of their own."""
    targets = table.apps.get(app, ())
    known = [t for t in targets if _listens(table, t)]
    bare = [Place(*split(t.address), t.weight) for t in targets if t.address]
    chosen = [t for t in known if table.local[t.instance].up] or ([] if bare else known)
    return [Place(*split(table.local[t.instance].address), t.weight) for t in chosen] + bare


def places(table: Table, app: str, down: Collection[str]) -> list[Place]:
    """Return where a gateway may send requests of an app.

    Copies that are down here, and nodes whose proxy is ``down``, are left out, unless that leaves nothing.
    """
    found: dict[Place, bool] = {}
    targets = table.apps.get(app, ())
    bare = any(t.address for t in targets)
    for t in targets:
        place, up = _place(table, t, down, bare)
        if place is None:
            continue
        # The copies of another node are one place, with the shares of all.
        same = next((p for p in found if p[:2] == place[:2]), None)
        if same is not None:
            up = found.pop(same) or up
            place = place._replace(weight=place.weight + same.weight)
        found[place] = up
    return [p for p, up in found.items() if up] or list(found)


def _place(table: Table, t: Target, down: Collection[str], bare: bool) -> tuple[Place | None, bool]:
    """Return where a copy is reached; ``bare``: the app has copies whose node has no proxy."""
    if t.address:
        own = table.nodes.get(table.node)
        return (Place(table.node, split(own)[1], t.weight, node=True), True) if own else (None, False)
    here = t.node == table.node
    up = table.local[t.instance].up if here and t.instance in table.local else t.node not in down
    if here and not bare and _listens(table, t):
        host, port = split(table.local[t.instance].address)
        if host == "127.0.0.1" and port in table.ports:
            return Place(host, port, t.weight), up
    if t.node not in table.nodes:
        return None, False
    return Place(t.node, split(table.nodes[t.node])[1], t.weight, node=True), up


def _listens(table: Table, t: Target) -> bool:
    return t.node == table.node and t.instance in table.local and bool(table.local[t.instance].address)


def multiplicities(weights: Mapping[int, int], chance: float, most: int = MOST_RECORDS) -> dict[int, int]:
    """Return how many records each key gets, at most ``most`` in all, in proportion to its weight.

    Shares are kept over time, not in every answer: by systematic sampling, a share of a third of a record is one in
    every third answer (``chance`` is uniform in [0, 1)). Where nothing has a weight, all have the same.
    """
    total = sum(weights.values())
    if weights and not total:
        weights, total = dict.fromkeys(weights, 1), len(weights)
    if len(set(weights.values())) == 1 and len(weights) <= most:
        return dict.fromkeys(weights, 1)
    found = dict.fromkeys(weights, 0)
    reached, taken = chance, 0.0
    for key, weight in weights.items():
        taken += weight / total * most
        # The last sum may be a little too large.
        while reached < min(taken, most):
            found[key] += 1
            reached += 1.0
    return {k: n for k, n in found.items() if n}


def split(address: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``[IPv6]:PORT``. Raises ValueError when it is neither."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
