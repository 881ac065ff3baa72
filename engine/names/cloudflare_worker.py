"""The Worker of a zone at Cloudflare: its script and its routes.

API: https://developers.cloudflare.com/api/resources/workers (v4). The script is ours by a tag; another tag says which
version it is, so that one that is as it should be is only read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib.resources import files

from automator67.engine.apis.client import ApiError, Client
from automator67.engine.names.worker import Worker

COMPATIBILITY = "2026-11-01"
"""The date that fixes how the runtime behaves."""
MAIN, SITES = "router.mjs", "sites.mjs"
_MODULE = "application/javascript+module"


class WorkerOfZone:
    """The Worker for one zone: ``account`` and ``zone_id`` are Cloudflare's, ``stamp`` is ours."""

    def __init__(self, client: Client, stamp: str, account: str, zone_id: str, zone: str) -> None:
        self._client, self._stamp = client, f"{stamp}:{zone}"
        self._name = f"{stamp}-{zone}".replace(".", "-").replace(":", "-")[:63]
        self._script = f"/accounts/{account}/workers/scripts/{self._name}"
        self._routes = f"/zones/{zone_id}/workers/routes"

    def follow(self, want: Worker) -> str:
        """Bring script and routes to what is wanted; return a word for what was done. Raises ApiError."""
        modules = {MAIN: files(__package__).joinpath("router.js").read_text(encoding="utf-8"), SITES: want.sites}
        version = hashlib.sha256(json.dumps([COMPATIBILITY, modules]).encode()).hexdigest()[:16]
        tags = self._tags()
        if tags is not None and self._stamp not in tags:
            raise ApiError(f"Cloudflare: there is a Worker {self._name} that is not ours")
        word = "" if tags is not None and version in tags else "new" if tags is None else "changed"
        if word:
            about = {"main_module": MAIN, "compatibility_date": COMPATIBILITY, "tags": [self._stamp, version]}
            parts = {"metadata": (json.dumps(about), "application/json")}
            parts |= {name: (text, _MODULE) for name, text in modules.items()}
            self._client.call("PUT", self._script, parts=parts)
        ours, taken = {}, set()
        for handle, pattern, script in self._seen():
            if script == self._name:
                ours[pattern] = handle
            else:
                taken.add(pattern)
        for pattern in sorted(want.patterns - set(ours) - taken):
            self._client.call("POST", self._routes, body={"pattern": pattern, "script": self._name})
        for pattern in sorted(set(ours) - want.patterns):
            self._client.delete(f"{self._routes}/{ours[pattern]}", body={})
        if taken & want.patterns:
            raise ApiError(f"Cloudflare: {', '.join(sorted(taken & want.patterns))} goes to another Worker")
        return word

    def remove(self) -> str:
        """Take away what is ours; return a word for what was done. Raises ApiError."""
        for handle, _, script in self._seen():
            if script == self._name:
                self._client.delete(f"{self._routes}/{handle}", body={})
        if self._stamp not in (self._tags() or ()):
            return ""
        self._client.delete(self._script, body={})
        return "removed"

    def _tags(self) -> list[str] | None:
        try:
            return list(self._client.get(f"{self._script}/settings")["result"].get("tags") or ())
        except ApiError as error:
            if error.missing:
                return None
            raise

    def _seen(self) -> Iterator[tuple[str, str, str]]:
        for route in self._client.get(self._routes)["result"]:
            yield str(route["id"]), str(route["pattern"]), str(route.get("script") or "")
