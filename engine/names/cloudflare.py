"""A zone at Cloudflare. API: https://developers.cloudflare.com/api/resources/dns (v4).

Ours are the records whose comment has our stamp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any
from urllib.parse import quote

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.apis.limits import Limit
from automator67.engine.names.cloudflare_worker import WorkerOfZone
from automator67.engine.names.wanted import NOWHERE, TTL, Changes, Record, Wanted, changes

PROVIDER = Provider(
    "Cloudflare",
    "https://api.cloudflare.com/client/v4",
    # "API rate limits": per user.
    (Limit(1200, 300),),
    ("errors.message",),
)
PAGE = 100
_ADDRESSES = ("A", "AAAA", "CNAME")


class CloudflareZone:
    """One zone; ``cloud`` is the name of ours, which goes into the stamp."""

    def __init__(self, client: Client, cloud: str, zone: str) -> None:
        self._client, self._zone = client, zone
        self._stamp = f"automator67:{cloud}"

    def follow(self, want: Wanted) -> Changes:
        """Bring the zone to what is wanted; return what was done. Raises ApiError."""
        ours, others = dict[Record, str](), set[str]()
        for seen in self._records():
            if seen.get("comment") == self._stamp:
                ours[Record(str(seen["name"]), str(seen["type"]), str(seen["content"]))] = str(seen["id"])
            elif seen.get("type") in _ADDRESSES:
                others.add(str(seen["name"]))
        do = changes(want, ours, others)
        if want.worker is not None:
            # Before the first name leads to it.
            do = replace(do, worker=self._worker.follow(want.worker))
        # What is new first: a name is never without an address.
        for record in do.add:
            by_us = record.content == NOWHERE
            body = {"type": record.type, "name": record.name, "content": record.content, "proxied": by_us}
            # What Cloudflare answers for itself has no TTL but its own, written as 1.
            self._client.call("POST", self._at(), body={**body, "ttl": 1 if by_us else TTL, "comment": self._stamp})
        for record in do.remove:
            self._client.delete(f"{self._at()}/{quote(ours[record], safe='')}", body={})
        if want.worker is None and any(r.content == NOWHERE for r in ours):
            do = replace(do, worker=self._worker.remove())
        return do

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    @cached_property
    def _found(self) -> Mapping[str, Any]:
        found = self._client.get("/zones", {"name": self._zone})["result"]
        if not found:
            raise ApiError(f"Cloudflare: the token opens no zone {self._zone}")
        zone: Mapping[str, Any] = found[0]
        return zone

    @cached_property
    def _worker(self) -> WorkerOfZone:
        account = str(self._found.get("account", {}).get("id", ""))
        return WorkerOfZone(self._client, self._stamp, account, str(self._found["id"]), self._zone)

    def _at(self) -> str:
        return f"/zones/{self._found['id']}/dns_records"

    def _records(self) -> Iterator[Mapping[str, Any]]:
        page = 1
        while True:
            found = self._client.get(self._at(), {"page": page, "per_page": PAGE})["result"]
            yield from found
            if len(found) < PAGE:
                return
            page += 1
