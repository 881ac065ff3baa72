"""Where an instance is reached. Pure."""

from __future__ import annotations

from automator67.agent.model import Seen, Wanted


def address_of(w: Wanted, seen: Seen, port: int | None) -> str:
    """Return ``HOST:PORT`` at which a port of an instance is reached from this node; empty when it is not."""
    published = dict(seen.ports)
    inner = port or w.port
    if inner is None:
        return ""
    if w.access.host_network and seen.instance:
        return f"127.0.0.1:{inner}"
    if inner in published:
        return published[inner]
    if seen.runtime == "process":
        # A process found again by its stamp alone has forgotten which port was meant, not which it has.
        return f"127.0.0.1:{inner}" if port and port != w.port else next(iter(published.values()), "")
    return f"{seen.ip}:{inner}" if seen.ip and not seen.instance else ""
