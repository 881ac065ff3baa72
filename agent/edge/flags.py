"""Files whose existence tells Caddy something: how a host is reached, and which gateways may come in."""

from __future__ import annotations

import contextlib
import os
import re
import shutil

from automator67.agent.edge.balance import mode
from automator67.agent.edge.gate import simple
from automator67.agent.edge.table import Table

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_HASH = re.compile(r"[0-9a-f]{64}")


def wanted_hosts(table: Table, held: set[str]) -> dict[str, str]:
    """Return by host how it is reached, for hosts that Caddy may serve without asking. Pure.

    An app without copies keeps the way it had while it is in ``held``: its requests wait there for the next copy.
    """
    found: dict[str, str] = {}
    for host in table.sites:
        if not _HOST.fullmatch(host) or not simple(table, host):
            continue
        how = mode(table, table.sites[host][0].app)
        if how != "none":
            found[host] = how
        elif table.sites[host][0].app in held:
            found[host] = ""
    return found


class Flags:
    """The files below ``home/hosts`` and ``home/peers``; what is there from before is taken up."""

    def __init__(self, home: str) -> None:
        self._hosts, self._peers = f"{home}/hosts", f"{home}/peers"
        for path in (self._hosts, self._peers):
            os.makedirs(path, mode=0o700, exist_ok=True)
        self._now = {host: self._way(host) for host in os.listdir(self._hosts)}

    def set_hosts(self, wanted: dict[str, str]) -> None:
        """Make the files say this; an empty way means: as it was. Raises OSError."""
        for host in set(self._now) - set(wanted):
            shutil.rmtree(f"{self._hosts}/{host}", ignore_errors=True)
            del self._now[host]
        for host, way in wanted.items():
            before = self._now.get(host, "")
            if way in ("", before):
                continue
            os.makedirs(f"{self._hosts}/{host}", mode=0o700, exist_ok=True)
            # First the new way, then without the old: a request in between finds one of the two.
            with open(f"{self._hosts}/{host}/{way}", "w"):
                pass
            if before:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self._hosts}/{host}/{before}")
            self._now[host] = way

    def set_peers(self, wanted: set[str]) -> None:
        """Let only the certificates with these hashes (SHA-256, hex) use this node's proxy. Raises OSError."""
        wanted = {h for h in wanted if _HASH.fullmatch(h)}
        there = set(os.listdir(self._peers))
        for name in wanted - there:
            with open(f"{self._peers}/{name}", "w"):
                pass
        for name in there - wanted:
            os.unlink(f"{self._peers}/{name}")

    def _way(self, host: str) -> str:
        return next((w for w in ("direct", "mesh") if os.path.exists(f"{self._hosts}/{host}/{w}")), "")
