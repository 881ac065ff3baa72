"""Decides about a request that needs more than its host: redirects, paths, allow-lists, passwords. Pure.

Caddy asks the edge with the head of each such request (the way ``forward_auth`` does). Hosts that have one app and no
such rules never come here: Caddy passes them on by itself.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable, Collection
from typing import NamedTuple

from automator67.agent.edge.table import Site, Table


class Request(NamedTuple):
    """The head of a request, as far as it matters; ``client`` is an IP address."""

    host: str
    uri: str
    client: str
    authorization: str


class Verdict(NamedTuple):
    """``status`` 200: pass it on to ``app``; else answer with it and with these headers and text."""

    status: int
    app: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    text: str = ""


Password = Callable[[str, str], bool]
"""Returns whether a password fits a hash: (hash, password)."""


def decide(table: Table, request: Request, fits: Password, held: Collection[str] = ()) -> Verdict:
    """Return what becomes of a request; ``held`` are apps without a copy whose requests wait for the next one."""
    host = request.host.lower().rstrip(".")
    if host.startswith("["):
        host = host.partition("]")[0][1:]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    site = next((s for s in table.sites_of(host) if _below(request.uri, s.path)), None)
    if site is None:
        return Verdict(404, text="There is nothing here.\n")
    if site.allow and not _allowed(site, request.client):
        return Verdict(403, text="Your address may not pass.\n")
    if site.basic and not _known(site, request.authorization, fits):
        return Verdict(401, headers=(("WWW-Authenticate", 'Basic realm="restricted", charset="UTF-8"'),))
    if site.redirect:
        return Verdict(308, headers=(("Location", f"https://{site.redirect}{request.uri}"),))
    if not table.apps.get(site.app) and site.app not in held:
        return Verdict(503, headers=(("Retry-After", "10"),), text=SORRY)
    return Verdict(200, site.app)


SORRY = "This app has no running copy at the moment. Please try again soon.\n"


def simple(table: Table, host: str) -> bool:
    """Return whether a host needs no decision by request: one app, no rules."""
    sites = table.sites_of(host)
    if len(sites) != 1 or sites[0].host != host:
        return False
    s = sites[0]
    return not (s.path or s.redirect or s.allow or s.basic) and bool(s.app)


def _below(uri: str, path: str) -> bool:
    asked = uri.partition("?")[0]
    return not path or asked == path or asked.startswith(path + "/")


def _allowed(site: Site, client: str) -> bool:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(network, strict=False) for network in site.allow)


def _known(site: Site, authorization: str, fits: Password) -> bool:
    kind, _, given = authorization.partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        user, _, password = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    # Somebody who does not exist costs as long as somebody who does.
    wanted = site.basic.get(user) or next(iter(site.basic.values()))
    return fits(wanted, password) and user in site.basic
