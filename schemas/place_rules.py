"""What a node needs that is no machine of ours: a swarm, or an account at a provider. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from automator67.schemas.findings import Finding

_LOOPBACK: Final = re.compile(r"tcp://(localhost|127\.[0-9.]+|\[::1\]):")
HOSTED_KINDS: Final = frozenset({"render", "koyeb", "cloudrun"})
"""Accounts that run apps."""
NAME_KINDS: Final = frozenset({"cloudflare", "desec", "duckdns"})
"""Accounts that hold names."""


def place_findings(value: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong in a node's document by what its kind needs."""
    yield from _swarm(value)
    yield from _provider(value)


def _swarm(value: Mapping[str, Any]) -> Iterator[Finding]:
    """A swarm is reached by its url; over a network only with TLS, since whoever may speak to it owns it."""
    url, swarm = value.get("url", ""), value.get("kind") == "swarm"
    if swarm and not url:
        yield Finding("relation", (), "a swarm needs a url", "write url: unix:///var/run/docker.sock, or tcp://...")
    for key in ("url", "tls"):
        if key in value and not swarm:
            yield Finding("contradiction", (key,), f"{key} is for kind: swarm", "remove it, or write kind: swarm")
    if url.startswith("tcp://") and "tls" not in value and not _LOOPBACK.match(url):
        text = "without tls anybody on the way could take over the swarm"
        yield Finding("relation", ("url",), text, "write tls: {ca: ..., certificate: ..., key: ...}")
    if url.startswith("unix://") and "tls" in value:
        yield Finding("contradiction", ("tls",), "a Unix socket has no TLS", "remove tls")


def _provider(value: Mapping[str, Any]) -> Iterator[Finding]:
    """An account that runs apps needs a token, and a project where the token does not say which."""
    kind = value.get("kind")
    if kind in NAME_KINDS and "domain" not in value:
        yield Finding("relation", (), f"kind {kind} holds the names of a domain", "write domain: example.org")
    if kind == "duckdns" and not value.get("domain", ".duckdns.org").endswith(".duckdns.org"):
        yield Finding("relation", ("domain",), "DuckDNS holds only names below duckdns.org", "write NAME.duckdns.org")
    if kind in HOSTED_KINDS | NAME_KINDS and "token" not in value:
        yield Finding("relation", (), f"an account of kind {kind} needs a token", "write token: {secret: NAME}")
    if "worker" in value and kind != "cloudflare":
        yield Finding("contradiction", ("worker",), "only Cloudflare has Workers", "remove worker")
    if kind == "cloudrun" and "account" not in value:
        yield Finding("relation", (), "Cloud Run needs a project", "write account: PROJECT-ID")
