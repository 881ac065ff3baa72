"""Which records a zone should have: every name of an app leads to the gateways that can take its requests. Pure.

Nothing is taken away while it is unknown what should be there instead: a name all of whose gateways are away keeps its
last records, since any of them may be the first to come back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from automator67.engine.desired import App, Desired, Node
from automator67.engine.names.worker import FarSite, Worker, worker
from automator67.engine.observed import NodeView

KINDS = frozenset({"cloudflare", "desec", "duckdns"})
GONE = frozenset({"unavailable", "failing", "revoked", "never"})
NOWHERE = "100::"
"""The address of names that only Cloudflare itself answers for (RFC 6666, as its documentation advises)."""
TTL = 60
"""Seconds; how long resolvers go on sending people to a gateway that is gone."""


@dataclass(frozen=True, slots=True, order=True)
class Record:
    """An address of a name: ``type`` is A or AAAA."""

    name: str
    type: str
    content: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a zone should have. ``kept``: names whose records stay as they are. ``troubles``: what a person must do."""

    records: frozenset[Record] = frozenset()
    kept: frozenset[str] = frozenset()
    troubles: tuple[str, ...] = ()
    worker: Worker | None = None
    """Takes the names whose address is ``NOWHERE``; None: the zone has none."""

    @property
    def names(self) -> frozenset[str]:
        """All names that the zone should have."""
        return self.kept | {r.name for r in self.records}


@dataclass(frozen=True, slots=True)
class Changes:
    """What to do: ``add`` and ``remove`` records of ours. ``foreign``: names that somebody else has records of.

    ``worker``: what was done to the Worker, a word; empty: nothing.
    """

    add: tuple[Record, ...] = ()
    remove: tuple[Record, ...] = ()
    foreign: tuple[str, ...] = ()
    worker: str = ""


def wanted(zone: str, desired: Desired, views: Mapping[str, NodeView], far: Sequence[FarSite] | None = None) -> Wanted:
    """Return what a zone should have, by the apps of a commit and the gateways as they are judged now.

    With ``far`` a Worker takes the names that no gateway can take at the moment.
    """
    gateways = [node for _, node in sorted(desired.nodes.items()) if node.gateway and not node.leaving]
    hosts = {s.host for app in _apps_of(zone, desired) for s in app.sites if within(s.host, zone)}
    records, kept, troubles = set[Record](), set[str](), list[str]()
    addresses = {node.name: _address(node, views.get(node.name)) for node in gateways}
    for node in gateways:
        if not addresses[node.name] and _up(views.get(node.name)):
            troubles.append(f"gateway {node.name} has no public address: write address: in its file")
    for host in sorted(hosts):
        up = [n.name for n in gateways if _serves(n, host) and _up(views.get(n.name)) and addresses[n.name]]
        found = {Record(host, _type(addresses[name]), addresses[name]) for name in up}
        records |= found
        if not found and far is not None:
            records.add(Record(host, "AAAA", NOWHERE))
        elif not found:
            kept.add(host)
    mine = worker([s for s in far if s.host in hosts]) if far is not None else None
    return Wanted(frozenset(records), frozenset(kept), tuple(troubles), mine)


def changes(want: Wanted, ours: Iterable[Record], others: Iterable[str]) -> Changes:
    """Return what to do to a zone that has ``ours``; ``others`` are names with records of somebody else."""
    have, foreign = frozenset(ours), frozenset(others) & want.names
    add = {r for r in want.records - have if r.name not in foreign}
    remove = {r for r in have - want.records if r.name not in want.kept}
    return Changes(tuple(sorted(add)), tuple(sorted(remove)), tuple(sorted(foreign)))


def within(host: str, zone: str) -> bool:
    """Whether a name belongs to a zone."""
    return host == zone or host.endswith(f".{zone}")


def shortcomings(node: Node, desired: Desired) -> str:
    """Return what a provider of names cannot do, for a plan; nothing where it does all that is asked of it."""
    zone = node.document.get("domain", "")
    if node.document.get("worker"):
        closed = sorted(a.name for a in _apps_of(zone, desired) if a.allow or a.basic)
        said = f"node {node.name}: while no gateway can be reached, {', '.join(closed)} answer 403"
        return f"{said}: a Worker checks no passwords and addresses" if closed else ""
    if node.kind == "desec":
        return (
            f"node {node.name}: deSEC has no TTL below an hour: people may be sent to a lost gateway of {zone} so long"
        )
    if node.kind == "duckdns":
        return f"node {node.name}: DuckDNS holds one address for {zone} and all names below it: one gateway takes all"
    return ""


def _apps_of(zone: str, desired: Desired) -> list[App]:
    return [a for a in desired.apps.values() if a.port is not None and any(within(s.host, zone) for s in a.sites)]


def _up(view: NodeView | None) -> bool:
    return view is not None and view.state not in GONE


def _serves(node: Node, host: str) -> bool:
    options = node.document.get("gateway")
    only = options.get("domains", ()) if isinstance(options, Mapping) else ()
    return not only or host in only


def _address(node: Node, view: NodeView | None) -> str:
    """Return the address that the file gives, whatever it is, else the one we see, if everybody can reach that."""
    said, seen = node.address, view.address if view is not None else ""
    for text, everybody in ((said, False), (seen, True)):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if address.is_global or not everybody:
            return str(address)
    return ""


def _type(address: str) -> str:
    return "AAAA" if ":" in address else "A"
