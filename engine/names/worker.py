"""What the Worker is told that takes a zone's names to copies at providers while no gateway can. Pure.

A Worker (https://developers.cloudflare.com/workers) runs where Cloudflare answers for a name. It decides as a gateway
does (docs/urls.md): ``router.js`` is the same for every cloud, the sites are a module beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, order=True)
class FarSite:
    """A public name, or the part of one below ``path``.

    ``awake`` and ``asleep`` are the origins (``HOST:PORT``) of copies that take requests now; those that sleep while
    nobody asks come last, in this order. ``closed``: only a gateway may let people in.
    """

    host: str
    path: str = ""
    redirect: str = ""
    closed: bool = False
    awake: tuple[str, ...] = ()
    asleep: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Worker:
    """``sites`` is the module that ``router.js`` imports, ``patterns`` are the URLs that come to it."""

    sites: str
    patterns: frozenset[str]


def worker(sites: Sequence[FarSite]) -> Worker:
    """Return the Worker for these sites."""
    # The longest path first, as the router looks. JSON as json.dumps writes it is JavaScript, too.
    table = [asdict(s) for s in sorted(sites, key=lambda s: (s.host, -len(s.path), s.path))]
    text = json.dumps(table, separators=(",", ":"))
    return Worker(f"export default {text};\n", frozenset(f"{s.host}/*" for s in sites))
