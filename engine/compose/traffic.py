"""Ports and public names of a service: from ports, expose, and the labels of proxies that watch containers. Pure."""

from __future__ import annotations

import re
from typing import Any

from automator67.engine.compose.making import Making, items
from automator67.engine.compose.project import pairs

_HOST = re.compile(r"Host\(([^)]*)\)")
_QUOTED = re.compile(r"[`'\"]([^`'\"]+)[`'\"]")
_DOMAIN = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_UPSTREAMS = re.compile(r"\{\{\s*upstreams\s+([0-9]+)")
_PROXIES = ("traefik.", "caddy", "virtual_host", "virtual_port", "letsencrypt_host", "com.centurylinklabs.watchtower")


def carry_traffic(m: Making) -> None:
    """Carry the port and the names over."""
    published = _published(m)
    exposed = [_number(str(e).partition("/")[0]) for e in items(m.take("expose"))]
    labels = {k.lower(): v or "" for k, v in pairs(m.take("labels")).items()}
    env = {k: v or "" for k, v in pairs(m.left.get("environment")).items()}
    told = next((v for k, v in labels.items() if k.endswith(".loadbalancer.server.port")), env.get("VIRTUAL_PORT", ""))
    upstreams = _UPSTREAMS.search(labels.get("caddy.reverse_proxy", ""))
    choice = [p for p in (_number(told), upstreams and _number(upstreams[1]), *published, *exposed) if p]
    if choice:
        m.document["port"] = choice[0]
    names = _names(m, labels, env)
    if names and choice:
        m.document.update({"domain": names[0]} if len(names) == 1 else {"domains": names})
    elif names:
        m.say(f"it answers at {names[0]}, but no port is written: add port: and domain:", "labels")
    elif published:
        m.say("its port is no longer published on the machine: give it a domain: to answer at the gateway", "ports")
    others = sorted({p for p in published if p != m.document.get("port")})
    if others:
        m.say(f"an app has one port; not carried over: {', '.join(map(str, others))}", "ports")
    strange = sorted(k for k in labels if not k.startswith(_PROXIES))
    if strange:
        m.say(f"labels are not carried over: {', '.join(strange[:5])}{', ...' if len(strange) > 5 else ''}", "labels")


def _published(m: Making) -> list[int]:
    """Return the container's TCP ports that are published."""
    found = []
    for n, entry in enumerate(items(m.take("ports"))):
        if isinstance(entry, dict):
            text, protocol = str(entry.get("target", "")), str(entry.get("protocol", "tcp"))
        else:
            text, _, protocol = str(entry).rpartition(":")[2].partition("/")
        if protocol not in ("", "tcp"):
            m.say(f"{protocol} port {text} is not carried over: only HTTP goes through the gateway", "ports", n)
        elif (port := _number(text)) is not None:
            found.append(port)
        else:
            m.say(f"ports {text} are a range: an app has one port", "ports", n)
    return list(dict.fromkeys(found))


def _names(m: Making, labels: dict[str, str], env: dict[str, str]) -> list[Any]:
    said: list[str] = []
    for key, value in labels.items():
        if key.startswith("traefik.http.routers.") and key.endswith(".rule"):
            for inside in _HOST.findall(value):
                said += _QUOTED.findall(inside)
            if "PathPrefix" in value or "Path(" in value:
                m.say("its route is for a path only: write domains: [{name: ..., path: ...}]", "labels")
        elif key == "caddy" or re.fullmatch(r"caddy_[0-9]+", key):
            said += re.split(r"[\s,]+", value)
    said += re.split(r"[\s,]+", env.get("VIRTUAL_HOST", ""))
    names = [re.sub(r"\Ahttps?://", "", s.strip().lower()).rstrip("/") for s in said]
    return [n for n in dict.fromkeys(names) if _DOMAIN.match(n)]


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536 else None
