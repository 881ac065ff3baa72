"""Where a request for an app may go, from the table and what is known to be down. Pure.

An app whose every copy runs on this node is reached *direct*; as soon as one runs elsewhere, every copy is reached
through the proxy of its node (*mesh*), this node's own included: one connection kind per request.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from automator67.agent.edge.table import Table

Mode = Literal["direct", "mesh", "none"]
MOST_RECORDS = 32
"""As many SRV records fit into the 1232 bytes that resolvers read of an answer."""


class Place(NamedTuple):
    """Somewhere to connect to: an address (direct) or a node's name (mesh), with its share."""

    host: str
    port: int
    weight: int


def mode(table: Table, app: str) -> Mode:
    """Return how the copies of an app are reached now; ``none`` when it has none that takes requests."""
    targets = table.apps.get(app, ())
    if not targets:
        return "none"
    return "direct" if all(t.node == table.node for t in targets) else "mesh"


def local_places(table: Table, app: str) -> list[Place]:
    """Return where the copies on this node listen. One that is down is left out, unless all are."""
    known = [
        (table.local[t.instance], t.weight)
        for t in table.apps.get(app, ())
        if t.node == table.node and t.instance in table.local and table.local[t.instance].address
    ]
    chosen = [pair for pair in known if pair[0].up] or known
    return [Place(*_split(local.address), weight) for local, weight in chosen]


def node_places(table: Table, app: str, down: Collection[str]) -> list[Place]:
    """Return the nodes that run copies, by their proxies; a node that is ``down`` is left out, unless all are."""
    weights: dict[str, int] = {}
    for t in table.apps.get(app, ()):
        if t.node in table.nodes:
            weights[t.node] = weights.get(t.node, 0) + t.weight
    chosen = {n: w for n, w in weights.items() if n not in down} or weights
    return [Place(n, _split(table.nodes[n])[1], w) for n, w in sorted(chosen.items())]


def multiplicities(weights: Mapping[int, int], chance: float) -> dict[int, int]:
    """Return how many records each key gets, at most ``MOST_RECORDS`` in all, in proportion to its weight.

    Shares are kept over time, not in every answer: by systematic sampling, a share of a third of a record is one in
    every third answer (``chance`` is uniform in [0, 1)).
    """
    total = sum(weights.values())
    if not total:
        return {}
    if len(set(weights.values())) == 1 and len(weights) <= MOST_RECORDS:
        return dict.fromkeys(weights, 1)
    found = dict.fromkeys(weights, 0)
    reached, taken = chance, 0.0
    for key, weight in weights.items():
        taken += weight / total * MOST_RECORDS
        while reached < taken and sum(found.values()) < MOST_RECORDS:
            found[key] += 1
            reached += 1.0
    return {k: n for k, n in found.items() if n}


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
