"""Projects at Neon as shards. API: https://api-docs.neon.tech (v2, 2025-03).

A project is found by its name, and its connection string can be asked for at any time: nothing of the answer to the
call that makes it needs to be kept. A project whose compute is suspended wakes with the next connection, by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.apis.keeper import Used
from automator67.engine.apis.limits import Limit

PROVIDER = Provider("Neon", "https://console.neon.tech/api/v2", (Limit(700, 60),))
"""The limit is that of "API rate limiting": 700 requests a minute on average."""
DATABASE, ROLE = "shard", "automator67"
PAGE = 100
_UNDER_WAY = frozenset({"running", "scheduling", "cancelling"})


class NeonAccount:
    """One account or organisation (``organization``; empty: the personal one)."""

    def __init__(self, client: Client, region: str, organization: str = "") -> None:
        self._client, self._region, self._organization = client, region, organization
        self._ids: dict[str, str] = {}

    def ensure(self, name: str) -> str:
        """Return the connection string of the project of a name, making that first; empty while it is not ready."""
        mine = sorted(p["id"] for p in self._projects(name) if p["name"] == name)
        if len(mine) > 1:
            raise ApiError(f"Neon has {len(mine)} projects called {name}: remove those without data by hand")
        if not mine:
            project: dict[str, Any] = {
                "name": name, "region_id": self._region, "store_passwords": True,
                "branch": {"database_name": DATABASE, "role_name": ROLE},
            } | ({"org_id": self._organization} if self._organization else {})  # fmt: skip
            self._client.call("POST", "/projects", body={"project": project})
            return ""
        self._ids[name] = mine[0]
        at = self._at(name)
        operations = self._client.get(f"{at}/operations", {"limit": 20})["operations"]
        if any(o["status"] in _UNDER_WAY for o in operations):
            return ""
        query = {"database_name": DATABASE, "role_name": ROLE}
        return str(self._client.get(f"{at}/connection_uri", query)["uri"])

    def used(self, name: str) -> Used | None:
        """Return what Neon has counted, in its billing period, of a project that ``ensure`` has found. Raises ApiError.

        None where the answer is not understood: it is only told, nothing depends on it.
        """
        project = self._client.get(self._at(name)).get("project") or {}
        try:
            begins, ends = (_at_time(project[f"consumption_period_{end}"]) for end in ("start", "end"))
            stored = float(project.get("synthetic_storage_size") or 0)
            return Used(float(project["data_transfer_bytes"]), stored, (begins, ends))
        except (KeyError, TypeError, ValueError):
            return None

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _at(self, name: str) -> str:
        return f"/projects/{quote(self._ids[name], safe='')}"

    def _projects(self, name: str) -> Iterator[Mapping[str, Any]]:
        cursor = ""
        while True:
            query: dict[str, str | int] = {"limit": PAGE, "search": name}
            query |= {"cursor": cursor} if cursor else {}
            query |= {"org_id": self._organization} if self._organization else {}
            page = self._client.get("/projects", query)
            if page.get("unavailable_project_ids"):
                raise ApiError("Neon cannot list all projects now")
            yield from page["projects"]
            cursor = str((page.get("pagination") or {}).get("cursor") or "")
            if len(page["projects"]) < PAGE or not cursor:
                return


def _at_time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
