"""A zone at deSEC. API: https://desec.readthedocs.io/en/latest/dns/rrsets.html (v1).

A set of records has no comment: ours are the names beside which a TXT record says so. All changes are one call, which
happens whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from automator67.engine.apis.client import Client, Provider
from automator67.engine.apis.limits import Limit
from automator67.engine.names.wanted import Changes, Record, Wanted, changes

_WRITES = frozenset({"PUT", "PATCH", "POST", "DELETE"})
PROVIDER = Provider(
    "deSEC",
    "https://desec.io/api/v1",
    # "Rate limits": changes of record sets per domain, all calls per user.
    (Limit(2, 1, _WRITES), Limit(15, 60, _WRITES), Limit(100, 3600, _WRITES), Limit(300, 86400, _WRITES),
     Limit(2000, 86400)),
    ("detail",),
)  # fmt: skip
LEAST_TTL = 3600
_MARK = "_automator67"
_ADDRESSES = ("A", "AAAA")


class DesecZone:
    """One domain; ``cloud`` is the name of ours, which goes into the stamp."""

    def __init__(self, client: Client, cloud: str, zone: str) -> None:
        self._client, self._zone = client, zone
        self._stamp = f'"automator67:{cloud}"'

    def follow(self, want: Wanted) -> Changes:
        """Bring the domain to what is wanted; return what was done. Raises ApiError."""
        path = f"/domains/{self._zone}/rrsets/"
        sets: list[Mapping[str, Any]] = self._client.get(path)
        marked = {str(s["subname"]) for s in sets if s["type"] == "TXT" and self._stamp in s["records"]}
        ours, others = set[Record](), set[str]()
        for s in sets:
            name, sub = self._name(str(s["subname"])), str(s["subname"])
            if s["type"] in _ADDRESSES and _mark(sub) in marked:
                ours |= {Record(name, str(s["type"]), str(content)) for content in s["records"]}
            elif s["type"] in (*_ADDRESSES, "CNAME"):
                others.add(name)
        do = changes(want, ours, others)
        left = (ours - set(do.remove)) | set(do.add)
        touched = sorted({r.name for r in (*do.add, *do.remove)})
        if touched:
            self._client.call("PATCH", path, body=[part for name in touched for part in self._sets(name, left)])
        return do

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _sets(self, name: str, records: Iterable[Record]) -> list[dict[str, Any]]:
        sub = name.removesuffix(self._zone).removesuffix(".")
        mine = {kind: sorted(r.content for r in records if (r.name, r.type) == (name, kind)) for kind in _ADDRESSES}
        stamp = [self._stamp] if any(mine.values()) else []
        found = {(sub, kind): content for kind, content in mine.items()} | {(_mark(sub), "TXT"): stamp}
        return [{"subname": s, "type": k, "ttl": LEAST_TTL, "records": c} for (s, k), c in found.items()]

    def _name(self, sub: str) -> str:
        return f"{sub}.{self._zone}" if sub else self._zone


def _mark(sub: str) -> str:
    # The star of a wildcard stands only in front.
    return f"{_MARK}.{sub.replace('*', '_star')}" if sub else _MARK
