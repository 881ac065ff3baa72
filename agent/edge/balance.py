"""Where a request for an app may go, from the table and what is known to be down. Pure.

A copy on this node, or on a node without a proxy, is reached directly; all copies on other nodes are one place, the
gateway's mesh server, which speaks mutual TLS to the proxies of their nodes; and all that have a URL of their own are
one, its far server. So one handler of Caddy never has to speak plain HTTP to one place and TLS to another: it would
try the second in the way of the first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from automator67.agent.edge.table import Table, Target, split

MOST_RECORDS = 32
"""More SRV records would make shares finer and answers too long."""


class Place(NamedTuple):
    """Somewhere to connect to, with its share: an address, or the name of a node (``node`` is True)."""

    host: str
    port: int
    weight: int
    node: bool = False


def local_places(table: Table, app: str) -> list[Place]:
    """Return where this node's proxy finds copies here: those that are not down, unless all are."""
    known = [t for t in table.apps.get(app, ()) if _listens(table, t)]
    chosen = [t for t in known if table.local[t.instance].up] or known
    return [Place(*split(table.local[t.instance].address), t.weight) for t in chosen]


def node_places(table: Table, app: str, down: Collection[str]) -> list[Place]:
    """Return the proxies of the other nodes that run copies; those ``down`` are left out, unless all are."""
    weights: dict[str, int] = {}
    for t in table.apps.get(app, ()):
        if _elsewhere(table, t):
            weights[t.node] = weights.get(t.node, 0) + t.weight
    chosen = {n: w for n, w in weights.items() if n not in down} or weights
    return [Place(n, split(table.nodes[n])[1], w, node=True) for n, w in chosen.items()]


def far_places(table: Table, app: str, chance: float) -> list[Place]:
    """Return the copies with a URL of their own, those to be tried first in front; ``chance`` is uniform in [0, 1).

    Of those that take their share of the requests, another one is the first each time. Those on standby keep their
    order, so that one of them is awake and the others sleep.
    """
    known = sorted((t for t in table.apps.get(app, ()) if t.remote), key=lambda t: t.instance)
    awake, standby = [t for t in known if not t.standby], [t for t in known if t.standby]
    first = int(chance * len(awake))
    ordered = {t.remote: t for t in (*awake[first:], *awake[:first], *standby)}
    return [Place(*split(remote), t.weight) for remote, t in ordered.items()]


def places(table: Table, app: str, down: Collection[str], mesh: int, far: int) -> list[Place]:
    """Return where a gateway sends requests of an app; ``mesh`` and ``far`` are the ports of its ways to others.

    What is down is left out, unless that leaves nothing; so are copies on standby.
    """
    remote = [t for t in table.apps.get(app, ()) if t.remote]
    near = _near(table, app, down, mesh)
    sharing = sum(t.weight for t in remote if not t.standby)
    if sharing or (remote and not any(up for _, up in near)):
        near.append((Place("127.0.0.1", far, max(1, sharing)), True))
    return [p for p, up in near if up] or [p for p, _ in near]


def _near(table: Table, app: str, down: Collection[str], mesh: int) -> list[tuple[Place, bool]]:
    """Return the places on own nodes, and whether they are up."""
    found: list[tuple[Place, bool]] = []
    elsewhere: list[tuple[int, bool]] = []
    for t in table.apps.get(app, ()):
        if t.address:
            found.append((Place(*split(t.address), t.weight), True))
        elif _listens(table, t):
            local = table.local[t.instance]
            found.append((Place(*split(local.address), t.weight), local.up))
        elif _elsewhere(table, t):
            elsewhere.append((t.weight, t.node not in down))
    if elsewhere:
        alive = [weight for weight, up in elsewhere if up]
        found.append((Place("127.0.0.1", mesh, sum(alive or [w for w, _ in elsewhere])), bool(alive)))
    return found


def _elsewhere(table: Table, t: Target) -> bool:
    return not (t.address or t.remote) and t.node != table.node and t.node in table.nodes


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
    reached, taken = chance, 0
    for key, weight in weights.items():
        # In whole numbers, so that the last sum is exact.
        taken += weight
        while reached < taken * most / total:
            found[key] += 1
            reached += 1.0
    return {k: n for k, n in found.items() if n}
