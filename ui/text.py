"""Writes values the way a person reads them: times, sizes, shares, links. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_ADDRESS: Final = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_RESOURCE: Final = re.compile(r"(app|node)/([a-z0-9][a-z0-9-]{0,62})")
_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")


def iso(at: float) -> str:
    """Return a time as RFC 3339 in UTC, empty when unknown."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at > 0 else ""


def clock(at: float) -> str:
    """Return a time in full for a person: ``2026-11-23 14:48:03 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at > 0 else "never"


def ago(at: float, now: float) -> str:
    """Return how long ago a time was: ``just now``, ``42 s ago``, ``3 min ago``, ``5 h ago``, ``12 d ago``."""
    if at <= 0:
        return "never"
    past = now - at
    if past < 0:
        return "just now" if past > -5 else f"in {_span(-past)}"
    return "just now" if past < 5 else f"{_span(past)} ago"


def _span(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def size(count: float | None) -> str:
    """Return bytes with a binary unit, three digits at most: ``1.5 GiB``, ``128 MiB``."""
    if count is None:
        return "–"
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while abs(value) >= 1000 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f}".removesuffix(".0") + f" {units[0]}" if abs(value) < 10 else f"{value:.0f} {units[0]}"


def cores(count: float | None) -> str:
    """Return CPU in cores, two digits after the point at most."""
    return "–" if count is None else f"{count:.2f}".rstrip("0").rstrip(".")


def share(used: float, whole: float) -> int:
    """Return how much of ``whole`` is used, in percent from 0 to 100."""
    return max(0, min(100, round(100 * used / whole))) if whole > 0 else 0


def short(commit: str) -> str:
    """Return the first seven digits of a commit's id."""
    return commit[:7]


def address_url(address: str) -> str:
    """Return the URL of an instance's ``host:port``, empty when it is no such thing."""
    return f"http://{address}" if _ADDRESS.fullmatch(address) else ""


def domain_url(domain: str) -> str:
    """Return the URL of a public name, empty when it is none."""
    return f"https://{domain}" if _DOMAIN.fullmatch(domain) else ""


def resource_url(resource: str) -> str:
    """Return the path of a resource's page, empty when it has none."""
    match = _RESOURCE.fullmatch(resource)
    if match:
        return f"/{match.group(1)}s/{match.group(2)}"
    kind, _, name = resource.partition("/")
    return commit_url(name) if kind == "commit" else ""


def commit_url(commit: str) -> str:
    """Return the path of a commit's page, empty when it is not a commit's id."""
    return f"/commits/{commit}" if _COMMIT.fullmatch(commit) else ""
