"""Volumes, bind mounts and tmpfs of a service. Pure."""

from __future__ import annotations

import re
from typing import Any

from automator67.engine.compose.making import Making, items, mapping, name_of

_WINDOWS = re.compile(r"[A-Za-z]:(\\|/[^:]*:/)")


def carry_storage(m: Making, shared: dict[str, str]) -> None:
    """Carry volumes over. ``shared``: by named volume, the service that has it."""
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    for n, entry in enumerate(items(m.take("volumes"))):
        kind, source, path, read_only = _parts(entry)
        at = ("volumes", n)
        if not path.startswith("/"):
            m.say(f"volume {entry!r} has no place in the container", *at)
        elif kind == "tmpfs":
            m.say(f"a tmpfs at {path} is not carried over: what is written there goes into the container", *at)
        elif kind == "bind":
            _bind(m, source, path, read_only, mounts, at)
        else:
            _named(m, source, path, volumes, shared, at)
    if m.take("tmpfs") is not None:
        m.say("tmpfs is not carried over: what is written there goes into the container", "tmpfs")
    if volumes:
        m.document["volumes"] = volumes
    if mounts:
        m.document["mounts"] = mounts


def _parts(entry: Any) -> tuple[str, str, str, bool]:
    """Return type, source, place and whether it may only be read."""
    if isinstance(entry, dict):
        kind, source = str(entry.get("type", "volume")), str(entry.get("source", ""))
        return kind, source, str(entry.get("target", "")), bool(entry.get("read_only", False))
    words = str(entry).split(":")
    if len(words) == 1:
        return "volume", "", words[0], False
    if _WINDOWS.match(str(entry)):
        return "bind", ":".join(words[:2]), words[2] if len(words) > 2 else "", False
    read_only = len(words) > 2 and "ro" in words[2].split(",")
    return "bind" if words[0][:1] in ("/", ".", "~") else "volume", words[0], words[1], read_only


def _bind(m: Making, source: str, path: str, read_only: bool, mounts: list[Any], at: tuple[str, int]) -> None:
    if not source.startswith("/") or any(c in source + path for c in ",\\"):
        text = f"{source} beside the file is not carried over to {path}"
        m.say(f"{text}: put it into the image, or into a volume, or write mounts: with its place on the node", *at)
        return
    mounts.append({"host": source, "path": path} | ({"read_only": True} if read_only else {}))
    m.say(f"{source} of the node: its policy must allow it (mounts in policy.toml), and every node needs it", *at)


def _named(m: Making, source: str, path: str, volumes: list[Any], shared: dict[str, str], at: tuple[str, int]) -> None:
    external = mapping(m.project.volumes.get(source)).get("external")
    if source and shared.setdefault(source, m.service) != m.service:
        m.say(f"volume {source} is that of {shared[source]} too: here each app has a volume of its own", *at)
    taken = {v["name"] for v in volumes}
    name = name_of(source or path)
    while name in taken:
        name = name_of(f"{name[:36]}-{len(taken) + 1}")
    volumes.append({"name": name, "path": path})
    if source:
        what = "external volume" if external else "volume"
        m.say(f"what {what} {source} holds stays where it is: copy it into the new one before you switch", *at)
