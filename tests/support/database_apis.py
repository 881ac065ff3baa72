"""Stand-ins for accounts that make databases, held to the published descriptions."""

from __future__ import annotations

import itertools
import re
from typing import Any

from automator67.engine.databases.neon import PROVIDER as NEON
from automator67.engine.databases.supabase import PROVIDER as SUPABASE
from tests.support.contracts import contract
from tests.support.openapi import Described
from tests.support.standin import Answer, Call, Refused, StandIn, below

NOW = "2026-11-20T10:00:00Z"
_USED = {
    "platform_id": "aws", "pg_version": 17, "proxy_host": "x.aws.neon.tech", "branch_logical_size_limit": 512,
    "branch_logical_size_limit_bytes": 536870912, "provisioner": "k8s-neonvm", "store_passwords": True,
    "cpu_used_sec": 0, "creation_source": "console", "created_at": NOW, "updated_at": NOW, "owner_id": "o",
    "active_time": 0,
}  # fmt: skip
_COUNTED = {
    "consumption_period_end": NOW, "consumption_period_start": NOW, "active_time_seconds": 0,
    "compute_time_seconds": 0, "written_data_bytes": 0, "data_transfer_bytes": 0, "data_storage_bytes_hour": 0,
    "history_retention_seconds": 0,
}  # fmt: skip


class NeonApi:
    """An account at Neon. ``busy``: operations go on; ``unavailable``: projects that it cannot list now.

    ``counted``: what it says was used of each project."""

    def __init__(self) -> None:
        self.projects: dict[str, dict[str, Any]] = {}
        self.busy, self.unavailable = False, list[str]()
        self.counted: dict[str, Any] = {}
        self._ids = itertools.count(1)
        self.standin = StandIn(
            Described(contract("neon/openapi-v2.json"), "/api/v2", frozenset({"-"})),
            self._answer,
            below("/api/v2", NEON.limits),
            token="db_test",
            refusal=lambda s: {"code": "", "message": f"no: {s}"},
        )

    def names(self) -> list[str]:
        """Return the names of all projects."""
        return [p["name"] for p in self.projects.values()]

    def make(self, name: str) -> dict[str, Any]:
        """Make a project."""
        handle = f"cold-bonus-{next(self._ids)}"
        self.projects[handle] = {"id": handle, "name": name, "region_id": "aws-eu-central-1", **_USED}
        return self.projects[handle]

    def _answer(self, call: Call) -> Answer:
        path = call.path.removeprefix("/api/v2")
        if path == "/projects" and call.method == "GET":
            found = [p for p in self.projects.values() if call.asked("search") in p["name"]]
            page = {
                "projects": found,
                "pagination": {"cursor": "x", "limit": 100},
                "applications": {},
                "integrations": {},
            }
            return 200, page | ({"unavailable_project_ids": self.unavailable} if self.unavailable else {})
        if path == "/projects":
            project = self.make(call.body["project"]["name"])
            assert call.body["project"]["branch"] == {"database_name": "shard", "role_name": "automator67"}
            whole = {k: v for k, v in project.items() if k != "active_time"} | _COUNTED
            return 201, {
                "project": whole, "connection_uris": [], "roles": [], "databases": [], "operations": [],
                "branch": _BRANCH, "endpoints": [],
            }  # fmt: skip
        if one := re.fullmatch(r"/projects/([^/]+)", path):
            project = {k: v for k, v in self.projects[one[1]].items() if k != "active_time"}
            return 200, {"project": project | _COUNTED | self.counted}
        found_in = re.fullmatch(r"/projects/([^/]+)/(\w+)", path)
        assert found_in is not None
        if found_in[2] == "operations":
            status = "running" if self.busy else "finished"
            operation = {
                "id": "7fda088f-8f28-41c2-9700-085b6d8e5378", "project_id": found_in[1], "action": "start_compute",
                "status": status, "failures_count": 0, "created_at": NOW, "updated_at": NOW, "total_duration_ms": 0,
            }  # fmt: skip
            return 200, {"operations": [operation], "pagination": {"cursor": "x", "limit": 100}}
        return 200, {"uri": f"postgresql://automator67:s3cret@{found_in[1]}.neon.tech/shard?sslmode=require"}


_BRANCH = {
    "id": "br-1", "project_id": "p", "name": "main", "current_state": "init", "creation_source": "console",
    "default": True, "protected": False, "cpu_used_sec": 0, "compute_time_seconds": 0, "active_time_seconds": 0,
    "written_data_bytes": 0, "data_transfer_bytes": 0, "created_at": NOW, "updated_at": NOW, "state_changed_at": NOW,
}  # fmt: skip


class SupabaseApi:
    """An organisation at Supabase. ``status``: what the next look at a project shows."""

    def __init__(self) -> None:
        self.projects: dict[str, dict[str, Any]] = {}
        self.passwords: dict[str, str] = {}
        self.busy = False
        self._ids = itertools.count(1)
        self.standin = StandIn(
            Described(contract("supabase/management-openapi.json")),
            self._answer,
            below("/v1", SUPABASE.limits),
            token="db_test",
        )

    def names(self) -> list[str]:
        """Return the names of all projects."""
        return [p["name"] for p in self.projects.values()]

    def make(self, name: str, password: str = "") -> dict[str, Any]:
        """Make a project."""
        ref = f"{'abcdefghijklmnopqrs'}{chr(96 + next(self._ids))}"
        self.passwords[ref] = password
        self.projects[ref] = {
            "id": ref, "ref": ref, "organization_id": "ana", "organization_slug": "ana", "name": name,
            "region": "eu-central-1", "created_at": NOW, "status": "COMING_UP",
        }  # fmt: skip
        return self.projects[ref]

    def _answer(self, call: Call) -> Answer:
        path = call.path.removeprefix("/v1")
        if path == "/projects" and call.method == "GET":
            database = {"host": "db", "version": "17", "postgres_engine": "17", "release_channel": "ga"}
            shown = [{**p, "database": database} for p in self.projects.values()]
            for project in self.projects.values() if not self.busy else ():
                if project["status"] in ("COMING_UP", "RESTORING"):
                    project["status"] = "ACTIVE_HEALTHY"
            return 200, shown
        if path == "/projects":
            return 201, self.make(call.body["name"], call.body["db_pass"])
        ref = path.split("/")[2]
        if ref not in self.projects:
            raise Refused(404)
        if path.endswith("/restore"):
            self.projects[ref]["status"] = "RESTORING"
            return 200, None
        text = f"postgresql://postgres.{ref}:[YOUR-PASSWORD]@pool:6543/postgres"
        return 200, [{
            "identifier": ref, "database_type": "PRIMARY", "is_using_scram_auth": True, "db_user": f"postgres.{ref}",
            "db_host": "aws-0-eu-central-1.pooler.supabase.com", "db_port": 6543, "db_name": "postgres",
            "connection_string": text, "connectionString": text, "default_pool_size": None, "max_client_conn": None,
            "pool_mode": "transaction",
        }]  # fmt: skip
