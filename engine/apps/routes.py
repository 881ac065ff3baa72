"""Which requests go where: the part of a node's desired state that its gateway and its proxy need. Pure.

Every gateway is told all sites it serves and which copies take requests now; every other node that runs such copies
is told of these alone, so that its proxy can pass on what gateways send. docs/protocol.md has the shape ("edge").
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from automator67.engine.apps.traffic import Share
from automator67.engine.copies import Copy
from automator67.engine.desired import App, Desired, Node, Site
from automator67.engine.observed import NodeView

LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test")
"""Names that no public authority can vouch for (RFC 6761, 6762, 8375, and what home networks use)."""
NOBODY = "!"
"""Stands for the hash of a password that cannot be opened: nobody passes."""

Edge = dict[str, Any]
Reach = dict[str, Any]
"""How a copy is reached whose node has no proxy of ours: what is added to a target."""

Traffic = Callable[[App, Sequence[Copy]], Iterable[Share]]
"""Tells which copies of an app take requests now."""
Opened = Callable[[str], str]
"""Returns the value of a secret by name, or an empty text when it cannot be opened."""


def edges(
    desired: Desired,
    views: Mapping[str, NodeView],
    copies: Mapping[str, Sequence[Copy]],
    traffic: Traffic,
    opened: Opened,
) -> dict[str, Edge]:
    """Return what the edge of each node is told, for the nodes that have one."""
    gateways = {n: node for n, node in desired.nodes.items() if node.gateway and n in views}
    if not gateways:
        return {}
    routed = [app for app in desired.apps.values() if app.sites and app.port is not None]
    bare = _without_proxy(desired, views)
    shares = {app.name: sorted(traffic(app, copies.get(app.name, ())), key=lambda s: s.instance) for app in routed}
    peers = sorted(views[g].fingerprint for g in gateways if views[g].fingerprint)
    sites = [_site(app, site, opened) for app in sorted(routed, key=lambda a: a.name) for site in app.sites]
    found = {
        name: _gateway(node, sites, shares, desired, views, peers, bare) for name, node in sorted(gateways.items())
    }
    for name in sorted({s.node for mine in shares.values() for s in mine} - set(gateways)):
        if name in desired.nodes and desired.nodes[name].kind != "agent":
            continue
        here = {app: [s for s in mine if s.node == name] for app, mine in shares.items()}
        here = {app: mine for app, mine in here.items() if mine}
        own = [{"host": s["host"], "path": s["path"], "app": s["app"]} for s in sites if s["app"] in here]
        found[name] = {
            "gateway": None, "sites": own, "apps": _targets(here, bare), "nodes": {}, "peers": peers, "names": [],
        }  # fmt: skip
    return found


def is_local(host: str) -> bool:
    """Whether no public authority can give a certificate for a name, so that the cloud's own has to."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or f".{host}".endswith(LOCAL_SUFFIXES)
    return True


def _gateway(
    node: Node,
    sites: Sequence[Mapping[str, Any]],
    shares: Mapping[str, Sequence[Share]],
    desired: Desired,
    views: Mapping[str, NodeView],
    peers: Sequence[str],
    bare: Mapping[tuple[str, str], Reach],
) -> Edge:
    options = node.document.get("gateway")
    options = options if isinstance(options, Mapping) else {}
    only = {str(d) for d in options.get("domains", ())}
    served = [s for s in sites if not only or s["host"] in only]
    apps = {s["app"] for s in served}
    mine = {app: shares[app] for app in sorted(apps) if app in shares}
    nodes = {s.node for places in mine.values() for s in places} | {node.name}
    addresses = {n: _address(desired.nodes.get(n), views.get(n)) for n in sorted(nodes)}
    return {
        "gateway": {"acme_email": str(options.get("acme_email", ""))},
        "sites": served,
        "apps": _targets(mine, bare),
        "nodes": {n: a for n, a in addresses.items() if a},
        "peers": list(peers),
        "names": sorted({s["host"] for s in served if s["tls"] == "internal"}),
    }


def _without_proxy(desired: Desired, views: Mapping[str, NodeView]) -> dict[tuple[str, str], Reach]:
    """Return by instance and node how each is reached whose node has no proxy of ours: places without an agent."""
    places = [(n, views[n]) for n, node in desired.nodes.items() if node.kind != "agent" and n in views]
    found = {(i.id, n): reach(i.address, desired.nodes[n]) for n, view in places for i in view.instances}
    return {key: how for key, how in found.items() if how}


def reach(address: str, node: Node) -> Reach:
    """Return how a gateway reaches a copy at an address: ``HOST:PORT`` of numbers, or a provider's URL.

    A copy that sleeps while nobody asks for it is on standby: requests go there when no other copy can be reached.
    """
    if address.startswith("https://"):
        host, _, port = address.removeprefix("https://").partition("/")[0].partition(":")
        standby = node.tier is not None and node.tier.sleeps
        return {"remote": f"{host}:{port or 443}", "standby": standby} if host else {}
    return {"address": address} if _numeric(address) else {}


def _numeric(address: str) -> bool:
    try:
        ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return True


def _targets(
    shares: Mapping[str, Sequence[Share]], bare: Mapping[tuple[str, str], Reach]
) -> dict[str, list[dict[str, Any]]]:
    return {
        app: [
            {"instance": s.instance, "node": s.node, "weight": s.weight, **bare.get((s.instance, s.node), {})}
            for s in mine
        ]
        for app, mine in shares.items()
    }


def _site(app: App, site: Site, opened: Opened) -> dict[str, Any]:
    return {
        "host": site.host,
        "path": site.path,
        "app": app.name,
        "redirect": site.redirect,
        "allow": list(app.allow),
        "basic": {user: opened(secret.name).strip() or NOBODY for user, secret in app.basic},
        "tls": "internal" if app.tls == "internal" or is_local(site.host.removeprefix("*.")) else "acme",
    }


def _address(node: Node | None, view: NodeView | None) -> str:
    """Return where a node's proxy is reached: by what the commit says, else by what the node reports."""
    if view is None or not view.proxy:
        return ""
    host = (node.address if node else "") or view.address
    if not host:
        return ""
    return f"[{host}]:{view.proxy}" if ":" in host else f"{host}:{view.proxy}"
