"""Rules on what an app demands of its node beyond a container of its own. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from automator67.schemas.findings import Finding

_KEYS: Final = ("privileged", "network", "mounts", "capabilities", "devices")


def access_findings(value: Mapping[str, Any], paths_taken: frozenset[str]) -> Iterator[Finding]:
    """Yield what is wrong with the demands of a valid app; ``paths_taken`` are where its volumes are."""
    asked = [key for key in _KEYS if key in value]
    process = value.get("runtime") == "process" or not {"image", "source"} & value.keys()
    if asked and process:
        text = f"a plain process has no {asked[0]} of its own: it is for containers"
        yield Finding("contradiction", (asked[0],), text, "remove it, or give the app an image")
    taken = set(paths_taken)
    for n, mount in enumerate(value.get("mounts", ())):
        for key in ("host", "path"):
            path = mount[key]
            if any(part in (".", "..") for part in path.split("/")) or "//" in path:
                text = f"{path!r} is not the shortest way to write this path"
                yield Finding("bad-path", ("mounts", n, key), text, "write it without ., .. and double slashes")
        path = mount["path"].rstrip("/")
        if not path:
            yield Finding("bad-path", ("mounts", n, "path"), "nothing can be mounted over the whole container")
        if path in taken:
            yield Finding("duplicate", ("mounts", n, "path"), f"two things are mounted at {path}")
        taken.add(path)
    for n, device in enumerate(value.get("devices", ())):
        if any(part in (".", "..") for part in device.split("/")):
            yield Finding("bad-path", ("devices", n), f"{device!r} is not a device", "write for example /dev/ttyUSB0")
