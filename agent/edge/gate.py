"""Decides about a request that needs more than its host: redirects, paths, allow-lists, passwords. Pure.

Caddy asks the edge with the head of each such request (the way ``forward_auth`` does). Hosts that have one app and no
such rules never come here: Caddy passes them on by itself.

Hosts are compared without case, port and last dot. Paths are compared as they came, byte by byte, and reach the app
unchanged. But apps read paths in many ways: some decode ``%61`` or ``%2f``, join ``//``, take ``\\`` for ``/``, ignore
case or what follows ``;``. Where a host has several paths, nobody may get around the rules of one, nor into the app of
another, because we and the app read differently. So there a path is refused (400) when the most lenient reading of it
belongs to another site, or when it holds dot segments, which have no meaning that all agree on; no browser sends them.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple
from urllib.parse import unquote

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
    sites = table.sites_of(host)
    path = request.uri.partition("?")[0]
    if not _clear(sites, path):
        return Verdict(400, text="This path can be read in more than one way.\n")
    site = _site(sites, path)
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


def _site(sites: Sequence[Site], path: str) -> Site | None:
    return next((s for s in sites if _below(path, s.path)), None)


def _below(path: str, prefix: str) -> bool:
    return not prefix or path == prefix or path.startswith(prefix + "/")


def _clear(sites: Sequence[Site], path: str) -> bool:
    """Return whether everybody who reads this path finds it below the same site."""
    if not path.startswith("/") and path != "*":
        return False
    if not any(s.path for s in sites):
        return True
    lenient = _leniently(path)
    if lenient is None:
        return False
    found = _site(sites, path)
    other = max((p for p in (_folded(s) for s in sites) if _below(lenient, p)), key=len, default=None)
    return other == (_folded(found) if found else None)


def _folded(site: Site) -> str:
    return _leniently(site.path) or site.path


_PASSES = 3
"""So often may a path be encoded over and over."""


def _leniently(path: str) -> str | None:
    """Return a path as the most lenient app may read it; None when there is no telling."""
    raw = path.split("/")
    for _ in range(_PASSES):
        path, before = unquote(path, "latin-1"), path
        if path == before:
            break
        raw = [unquote(segment, "latin-1") for segment in raw]
    else:
        return None
    if any(re.search(r";.*[/\\]", segment, re.S) for segment in raw):
        # How far goes what follows the semicolon? It depends on when the rest is decoded, or \\ taken for /.
        return None
    segments = [re.split("[;?#]", s)[0] for s in re.split(r"[/\\]+", path.lower())]
    if any(s.strip() in (".", "..") for s in segments) or re.search(r"[\x00-\x1f]", path):
        return None
    return "".join(f"/{s}" for s in segments if s)


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
    known = user in site.basic
    return fits(site.basic[user] if known else next(iter(site.basic.values())), password) and known
