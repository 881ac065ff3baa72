"""Projects at Supabase as shards. Management API: https://supabase.com/docs/reference/api (v1, 2026-06).

A project is found by its name. Its password is ours to choose, and Supabase never tells it again: it is derived from a
key of the engine's, so that it is the same whenever it is asked for. A project that was paused, since nobody used it
for a week, is restored. The direct host has an IPv6 address only: connections go through its pooler.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.apis.limits import Limit

PROVIDER = Provider("Supabase", "https://api.supabase.com/v1", (Limit(60, 60),))
"""The limit is that of "Rate limits" of the Management API: 60 requests a minute."""
_COMING = frozenset(
    {"COMING_UP", "RESTORING", "RESTARTING", "UPGRADING", "RESIZING", "PAUSING", "GOING_DOWN", "UNKNOWN"}
)


class SupabaseAccount:
    """One organisation, by its slug. ``password(name)`` is always the same for a name."""

    def __init__(self, client: Client, organization: str, region: str, password: Callable[[str], str]) -> None:
        self._client, self._organization, self._region, self._password = client, organization, region, password

    def ensure(self, name: str) -> str:
        """Return the connection string of the project of a name, making that first; empty while it is not ready."""
        mine = [
            p for p in self._client.get("/projects")
            if p["name"] == name and p["organization_slug"] == self._organization and p["status"] != "REMOVED"
        ]  # fmt: skip
        if len(mine) > 1:
            raise ApiError(f"Supabase has {len(mine)} projects called {name}: remove those without data by hand")
        if not mine:
            body = {
                "name": name, "organization_slug": self._organization, "db_pass": self._password(name),
                "region_selection": {"type": "specific", "code": self._region},
            }  # fmt: skip
            self._client.call("POST", "/projects", body=body)
            return ""
        at, status = f"/projects/{quote(str(mine[0]['ref']), safe='')}", str(mine[0]["status"])
        if status == "INACTIVE":
            self._client.call("POST", f"{at}/restore")
            return ""
        if status in _COMING:
            return ""
        if not status.startswith("ACTIVE"):
            raise ApiError(f"Supabase: project {name} is {status.lower().replace('_', ' ')}")
        poolers = self._client.get(f"{at}/config/database/pooler")
        p = next(p for p in poolers if p["database_type"] == "PRIMARY")
        login = f"{quote(p['db_user'], safe='')}:{quote(self._password(name), safe='')}"
        return f"postgresql://{login}@{p['db_host']}:{p['db_port']}/{p['db_name']}"

    def used(self, name: str) -> None:
        """Return nothing: the API that a token opens does not tell."""

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()
