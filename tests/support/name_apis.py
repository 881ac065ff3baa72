"""Stand-ins for providers of names: Cloudflare's is held to its description; the others publish none."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automator67.engine.names.cloudflare import PROVIDER as CLOUDFLARE
from automator67.engine.names.desec import PROVIDER as DESEC
from tests.support.contracts import contract
from tests.support.openapi import ContractBroken, Described, form_parts
from tests.support.standin import Answer, Call, Refused, StandIn, below

ZONE_ID = "023e105f4ecef8ad9ca31a8372d0c353"
ACCOUNT_ID = "9a7806061c88ada191ed06f989cc3dac"
KEYS = {"type", "name", "content", "ttl", "proxied", "comment"}

_RECORD: dict[str, Any] = {
    "id": "", "proxiable": True, "locked": False, "zone_name": "example.org", "zone_id": ZONE_ID,
    "created_on": "2026-01-01T00:00:00Z", "modified_on": "2026-01-01T00:00:00Z",
}  # fmt: skip
"""What answers have, and the description requires of requests, too."""
_ZONE: dict[str, Any] = {
    "development_mode": 0, "owner": {}, "account": {"id": ACCOUNT_ID}, "meta": {}, "original_name_servers": [],
    "original_registrar": "", "original_dnshost": "", "created_on": "2026-01-01T00:00:00Z",
    "modified_on": "2026-01-01T00:00:00Z", "activated_on": "2026-01-01T00:00:00Z",
}  # fmt: skip


@dataclass
class Script:
    """A Worker that was uploaded."""

    modules: dict[str, str]
    tags: list[str]


class CloudflareApi:
    """An account with one zone. ``records`` and ``routes`` by id, ``scripts`` by name."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self.records: dict[str, dict[str, Any]] = {}
        self.routes: dict[str, dict[str, Any]] = {}
        self.scripts: dict[str, Script] = {}
        self._ids = itertools.count(1)
        self.standin = StandIn(
            _Cloudflare(contract("cloudflare/zones-subset.json"), "/client/v4", frozenset(_RECORD)),
            self._answer,
            below("/client/v4", CLOUDFLARE.limits),
            token="cf_test",
            refusal=lambda s: {"success": False, "errors": [{"code": 1000 + s, "message": f"no: {s}"}], "messages": [],
                               "result": None},
        )  # fmt: skip

    def addresses(self) -> set[tuple[str, str]]:
        """Return name and content of every record."""
        return {(r["name"], r["content"]) for r in self.records.values()}

    def add(self, name: str, content: str, comment: str = "", *, proxied: bool = False) -> None:
        """Add a record."""
        handle = f"{next(self._ids):032x}"
        self.records[handle] = _RECORD | {
            "id": handle, "type": "AAAA" if ":" in content else "A", "name": name, "content": content, "ttl": 1,
            "proxied": proxied, "comment": comment,
        }  # fmt: skip

    def _answer(self, call: Call) -> Answer:
        path = call.path.removeprefix("/client/v4")
        done = {"success": True, "errors": [], "messages": []}
        if path == "/zones":
            mine = [{"id": ZONE_ID, "name": self.zone, **_ZONE}] if call.asked("name") == self.zone else []
            return 200, done | {"result": mine}
        if path.startswith(f"/accounts/{ACCOUNT_ID}/workers/scripts/"):
            return 200, done | {"result": self._script(call, path)}
        if path.startswith(f"/zones/{ZONE_ID}/workers/routes"):
            return 200, done | {"result": self._route(call, path.rpartition("/")[2])}
        found = re.fullmatch(rf"/zones/{ZONE_ID}/dns_records(?:/(\w+))?", path)
        if found is None:
            raise Refused(404)
        if call.method == "GET":
            start = (int(call.asked("page")) - 1) * int(call.asked("per_page"))
            return 200, done | {"result": list(self.records.values())[start : start + int(call.asked("per_page"))]}
        if call.method == "POST":
            # The description closes nothing here: what we send is held to a list of its own.
            ttl = call.body["ttl"] == 1 if call.body["proxied"] else 60 <= call.body["ttl"] <= 86400
            if set(call.body) != KEYS or not ttl:
                raise ContractBroken(f"a record {call.body}")
            self.add(call.body["name"], call.body["content"], call.body["comment"], proxied=call.body["proxied"])
            return 200, done | {"result": list(self.records.values())[-1]}
        if found[1] not in self.records:
            raise Refused(404)
        del self.records[found[1]]
        return 200, {"result": {"id": found[1]}}

    def _script(self, call: Call, path: str) -> Any:
        name, _, part = path.removeprefix(f"/accounts/{ACCOUNT_ID}/workers/scripts/").partition("/")
        if call.method == "PUT":
            form = form_parts(call.data)
            about = json.loads(form.pop("metadata"))
            if about["main_module"] not in form:
                raise Refused(400)
            self.scripts[name] = Script(form, about["tags"])
        if name not in self.scripts:
            raise Refused(404)
        if call.method == "DELETE":
            del self.scripts[name]
            self.routes = {k: r for k, r in self.routes.items() if r["script"] != name}
            return {}
        return {"tags": self.scripts[name].tags} if part == "settings" else {"id": name}

    def _route(self, call: Call, handle: str) -> Any:
        if call.method == "GET":
            return list(self.routes.values())
        if call.method == "POST":
            if call.body["script"] not in self.scripts or any(
                r["pattern"] == call.body["pattern"] for r in self.routes.values()
            ):
                raise Refused(409)
            handle = f"{next(self._ids):032x}"
            self.routes[handle] = {"id": handle, **call.body}
            return {"id": handle}
        if self.routes.pop(handle, None) is None:
            raise Refused(404)
        return {"id": handle}


class _Cloudflare(Described):
    """Both of Cloudflare's descriptions: of zones, and of accounts."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._accounts = Described(contract("cloudflare/accounts-subset.json"), "/client/v4")

    def check_request(self, method: str, path: str, query: Mapping[str, list[str]], kind: str, body: bytes) -> str:
        if "/accounts/" not in path:
            return super().check_request(method, path, query, kind, body)
        return self._accounts.check_request(method, path, query, kind, body)

    def check_answer(self, method: str, path: str, status: int, body: bytes) -> None:
        if "/accounts/" not in path:
            super().check_answer(method, path, status, body)
        elif status < 400:  # What it says of refusals contradicts itself, too.
            self._accounts.check_answer(method, path, status, body)


class DesecApi:
    """An account with one domain. ``sets`` by (subname, type)."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self.sets: dict[tuple[str, str], list[str]] = {}
        self.standin = StandIn(
            None, self._answer, below("/api/v1", DESEC.limits), refusal=lambda s: {"detail": f"no: {s}"}
        )

    def addresses(self) -> set[tuple[str, str]]:
        """Return name and content of every address."""
        found = {(s, c) for (s, kind), contents in self.sets.items() if kind in ("A", "AAAA") for c in contents}
        return {(f"{s}.{self.zone}".removeprefix("."), content) for s, content in found}

    def add(self, name: str, content: str) -> None:
        """Add a record that is not ours."""
        self.sets[name.removesuffix(self.zone).removesuffix("."), "A"] = [content]

    def _answer(self, call: Call) -> Answer:
        if call.headers.get("authorization") != "Token desec_test":
            raise Refused(401)
        if call.path != f"/api/v1/domains/{self.zone}/rrsets/":
            raise Refused(404)
        if call.method == "PATCH":
            for part in call.body:
                if set(part) != {"subname", "type", "ttl", "records"} or part["ttl"] < 3600:
                    raise ContractBroken(f"a set {part}")
                if part["records"]:
                    self.sets[part["subname"], part["type"]] = part["records"]
                else:
                    self.sets.pop((part["subname"], part["type"]), None)
        return 200, [{"subname": s, "type": t, "ttl": 3600, "records": r} for (s, t), r in self.sets.items()]
