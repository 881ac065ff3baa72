"""A stand-in for Koyeb's API with a memory, held to Koyeb's own Swagger document (converted to OpenAPI 3)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from automator67.engine.places.koyeb.account import PROVIDER
from tests.support.contracts import contract
from tests.support.openapi import Described
from tests.support.standin import Answer, Call, Refused, StandIn, below

NOW = "2026-11-20T10:00:00Z"


class KoyebApi:
    """An organisation."""

    good, bad, busy = "SLEEPING", "ERROR", "STARTING"

    def __init__(self, url_of: Callable[[str], str] = lambda name: f"{name}-ana.koyeb.app") -> None:
        self.apps: dict[str, dict[str, Any]] = {}
        self.services: dict[str, dict[str, Any]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.outcome: Callable[[str], str] = lambda image: "SLEEPING"
        self._url_of = url_of
        self._ids = itertools.count(1)
        self.standin = StandIn(
            Described(contract("koyeb/openapi3-converted.json")),
            self._answer,
            below("/v1", PROVIDER.limits),
            token="koyeb_test",
            # What the document leaves to "default" looks otherwise.
            refusal=lambda s: {"code": "x" if s in (400, 401, 403, 404, 500, 503) else s, "message": f"no: {s}"},
        )

    def images(self) -> Mapping[str, str]:
        """Return by name of service the image that it is set to run."""
        return {
            s["name"]: self.deployments[s["latest_deployment_id"]]["definition"]["docker"]["image"]
            for s in self.services.values()
        }

    def add_foreign(self, name: str) -> None:
        """Add a service that is not ours."""
        self._make(self._app(name), {"name": name, "type": "WEB", "docker": {"image": "theirs:1"}, "env": []})

    def change_by_hand(self, name: str) -> None:
        """Give a service another image."""
        service = next(s for s in self.services.values() if s["name"] == name)
        before = self.deployments[service["latest_deployment_id"]]["definition"]
        self._deploy(service, {**before, "docker": {"image": "somebody/elses:9"}})

    def _answer(self, call: Call) -> Answer:
        match call.method, call.path.removeprefix("/v1/").split("/"):
            case "GET", ["apps"]:
                apps = [a for a in self.apps.values() if call.asked("name") in ("", a["name"])]
                return 200, self._paged(call, "apps", apps)
            case "POST", ["apps"]:
                if any(a["name"] == call.body["name"] for a in self.apps.values()):
                    raise Refused(409)
                return 200, {"app": self.apps[self._app(call.body["name"])]}
            case "DELETE", ["apps", handle]:
                if handle not in self.apps:
                    raise Refused(404)
                del self.apps[handle]
                self.services = {k: s for k, s in self.services.items() if s["app_id"] != handle}
                return 200, {}
            case "GET", ["services"]:
                for service in self.services.values():
                    self._progress(service)
                return 200, self._paged(call, "services", list(self.services.values()))
            case "POST", ["services"]:
                return 200, {"service": self._make(call.body["app_id"], call.body["definition"])}
            case "PATCH", ["services", handle]:
                service = self.services[handle]
                self._deploy(service, call.body["definition"])
                return 200, {"service": service}
            case "GET", ["deployments", handle]:
                return 200, {"deployment": self.deployments[handle]}
            case "GET", ["streams", "logs", "query"]:
                return 200, {"data": [{"msg": "hello", "created_at": NOW, "labels": {"stream": "stdout"}}]}
        raise AssertionError((call.method, call.path))

    def _app(self, name: str) -> str:
        handle = f"app-{next(self._ids)}"
        domain = {"id": f"dom-{handle}", "name": self._url_of(name), "type": "AUTOASSIGNED", "status": "ACTIVE"}
        self.apps[handle] = {"id": handle, "name": name, "organization_id": "org-1", "domains": [domain]}
        return handle

    def _make(self, app: str, definition: dict[str, Any]) -> dict[str, Any]:
        if any(s["app_id"] == app and s["name"] == definition["name"] for s in self.services.values()):
            raise Refused(409)
        handle = f"svc-{next(self._ids):03}"
        service = {
            "id": handle, "name": definition["name"], "app_id": app, "organization_id": "org-1", "type": "WEB",
            "status": "STARTING", "created_at": NOW, "updated_at": NOW,
        }  # fmt: skip
        self.services[handle] = service
        self._deploy(service, definition)
        return service

    def _deploy(self, service: dict[str, Any], definition: dict[str, Any]) -> None:
        handle = f"dpl-{next(self._ids)}"
        self.deployments[handle] = {
            "id": handle, "service_id": service["id"], "status": "PENDING", "definition": definition,
            "created_at": NOW, "updated_at": NOW, "messages": ["it said why"],
        }  # fmt: skip
        service["latest_deployment_id"] = handle

    def _progress(self, service: dict[str, Any]) -> None:
        deployment = self.deployments[service["latest_deployment_id"]]
        if deployment["status"] in ("PENDING", "STARTING"):
            deployment["status"] = self.outcome(deployment["definition"]["docker"]["image"])
        service["status"] = "HEALTHY" if deployment["status"] in ("SLEEPING", "HEALTHY") else "STARTING"

    def _paged(self, call: Call, things: str, items: list[dict[str, Any]]) -> dict[str, Any]:
        start = int(call.asked("offset", "0"))
        part = items[start : start + int(call.asked("limit", "20"))]
        return {things: part, "count": len(items), "has_next": start + len(part) < len(items)}
