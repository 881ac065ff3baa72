"""A name at DuckDNS. API: https://www.duckdns.org/spec.jsp (2026-08).

There is nothing to read, and one address of each family to write, for the name and all below it: all of it is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.apis.limits import Limit
from automator67.engine.names.wanted import Changes, Record, Wanted

PROVIDER = Provider("DuckDNS", "https://www.duckdns.org", (Limit(10, 60),))
"""No limit is documented; this one is ours."""
SUFFIX = ".duckdns.org"


class DuckDnsName:
    """One name such as ``ana.duckdns.org``, with the account's token."""

    def __init__(self, client: Client, token: str, name: str) -> None:
        self._client, self._token, self._name = client, token, name
        self._sent: Mapping[str, str] | None = None

    def follow(self, want: Wanted) -> Changes:
        """Write the addresses if they are others than those written last; return what was done. Raises ApiError."""
        before = self._sent or {}
        now = {
            kind: _choose([r.content for r in want.records if r.type == kind], before.get(kind))
            for kind in ("A", "AAAA")
        }
        now = {kind: content for kind, content in now.items() if content}
        if not now or now == self._sent:
            return Changes()
        query = {"domains": self._name.removesuffix(SUFFIX), "token": self._token, "ip": now.get("A", "")}
        if "AAAA" in now:
            query["ipv6"] = now["AAAA"]
        if self._client.text("/update", query).strip() != "OK":
            raise ApiError(f"DuckDNS does not take {self._name}: is it a name of this account, and the token right?")
        self._sent = now
        return Changes(tuple(Record(self._name, kind, content) for kind, content in sorted(now.items())))

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


def _choose(addresses: list[str], before: str | None) -> str:
    """Return the address of before while it is good: every change takes a minute to get around."""
    return before if before in addresses else min(addresses, default="")
