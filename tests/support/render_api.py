"""A stand-in for Render's API with a memory, held to Render's own OpenAPI document."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

from automator67.engine.image_name import full_name
from automator67.engine.places.render.account import PROVIDER, _settings
from tests.support.contracts import contract
from tests.support.openapi import Described
from tests.support.standin import Answer, Call, Refused, StandIn, below

NOW = "2026-11-20T10:00:00Z"


class RenderApi:
    """A workspace. ``outcome`` says how a deploy ends that is looked at: a status of Render's."""

    good, bad, busy = "live", "update_failed", "update_in_progress"

    def __init__(self, url_of: Callable[[str], str] = lambda name: f"https://{name}.onrender.com") -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.env: dict[str, dict[str, str]] = {}
        self.deploys: dict[str, list[dict[str, Any]]] = {}
        self.outcome: Callable[[str], str] = lambda image: "live"
        self._url_of = url_of
        self._ids = itertools.count(1)
        described = Described(contract("render/openapi.json"), "/v1")
        self.standin = StandIn(
            described,
            self._answer,
            below("/v1", PROVIDER.limits),
            token="rnd_test",
            refusal=lambda s: {"id": "e", "message": f"no: {s}"},
        )

    def images(self) -> Mapping[str, str]:
        """Return by name of service the image that it is set to run."""
        return {s["name"]: s["imagePath"] for s in self.services.values()}

    def add_foreign(self, name: str) -> None:
        """Add a service that is not ours."""
        details = {"plan": "free", "region": "oregon", **_settings({"health": "", "command": ""})}
        self._make({"name": name, "ownerId": "tea-1", "type": "web_service", "image": {"imagePath": "theirs:1"},
                    "envVars": [], "serviceDetails": details})  # fmt: skip

    def change_by_hand(self, name: str) -> None:
        """Give a service another image."""
        service = next(s for s in self.services.values() if s["name"] == name)
        service["imagePath"], service["updatedAt"] = "somebody/elses:9", "2026-11-21T00:00:00Z"

    def _answer(self, call: Call) -> Answer:
        path = call.path.removeprefix("/v1")
        if path == "/owners":
            return 200, [{"cursor": "o", "owner": {"id": "tea-1", "name": "n", "email": "a@b.c", "type": "team"}}]
        if path == "/logs":
            line = {"id": "l", "message": "hello", "timestamp": NOW, "labels": [{"name": "level", "value": "info"}]}
            return 200, {"hasMore": False, "nextStartTime": NOW, "nextEndTime": NOW, "logs": [line]}
        if path == "/services":
            return (
                self._create(call)
                if call.method == "POST"
                else (200, self._paged(call, "service", list(self.services.values())))
            )
        found = re.fullmatch(r"/services/([^/]+)(/.*)?", path)
        assert found is not None
        handle, rest = found[1], found[2] or ""
        if handle not in self.services:
            raise Refused(404)
        return self._of_service(call, handle, rest)

    def _of_service(self, call: Call, handle: str, rest: str) -> Answer:
        service = self.services[handle]
        if rest == "":
            if call.method == "DELETE":
                del self.services[handle]
                return 204, None
            if call.method == "PATCH":
                self._patch(service, call.body)
            return 200, service
        if rest == "/env-vars":
            if call.method == "PUT":
                self.env[handle] = {e["key"]: e["value"] for e in call.body}
            entries = [{"key": k, "value": v} for k, v in self.env[handle].items()]
            return 200, self._paged(call, "envVar", entries) if call.method == "GET" else [
                {"envVar": e, "cursor": "c"} for e in entries
            ]
        if rest.startswith("/env-vars/"):
            key = rest.removeprefix("/env-vars/")
            self.env[handle][key] = call.body["value"]
            return 200, {"key": key, "value": call.body["value"]}
        if rest == "/deploys":
            if call.method == "POST":
                return 201, self._deploy(handle)
            self._progress(handle)
            return 200, [{"deploy": self.deploys[handle][-1], "cursor": "c"}]
        if rest in ("/suspend", "/resume"):
            service["suspended"] = "suspended" if rest == "/suspend" else "not_suspended"
            service["suspenders"] = ["user"] if rest == "/suspend" else []
            return 202, None
        raise AssertionError(rest)

    def _create(self, call: Call) -> Answer:
        if any(s["name"] == call.body["name"] for s in self.services.values()):
            raise Refused(409)
        handle = self._make(call.body)
        return 201, {"service": self.services[handle], "deployId": self.deploys[handle][-1]["id"]}

    def _make(self, body: dict[str, Any]) -> str:
        handle = f"srv-{next(self._ids):03}"
        details = body["serviceDetails"]
        self.services[handle] = {
            "id": handle, "name": body["name"], "ownerId": body["ownerId"], "type": body["type"], "createdAt": NOW,
            "updatedAt": NOW, "dashboardUrl": "https://dashboard.render.com", "suspended": "not_suspended",
            "suspenders": [], "autoDeploy": "no", "notifyOnFail": "default", "slug": body["name"], "rootDir": "",
            "imagePath": full_name(body["image"]["imagePath"]),
            "serviceDetails": {
                "env": "image", "runtime": "image", "plan": details["plan"], "region": details["region"],
                "numInstances": 1, "buildPlan": "starter", "healthCheckPath": details["healthCheckPath"],
                "openPorts": [], "url": self._url_of(body["name"]),
                "envSpecificDetails": {
                    "dockerCommand": details["envSpecificDetails"]["dockerCommand"], "dockerContext": "",
                    "dockerfilePath": "",
                },
            },
        }  # fmt: skip
        self.env[handle] = {e["key"]: e["value"] for e in body["envVars"]}
        self.deploys[handle] = []
        self._deploy(handle)
        return handle

    def _patch(self, service: dict[str, Any], body: dict[str, Any]) -> None:
        service["imagePath"] = full_name(body.get("image", {}).get("imagePath", service["imagePath"]))
        details = body.get("serviceDetails", {})
        service["serviceDetails"]["healthCheckPath"] = details["healthCheckPath"]
        service["serviceDetails"]["envSpecificDetails"]["dockerCommand"] = details["envSpecificDetails"][
            "dockerCommand"
        ]
        service["updatedAt"] = f"2026-11-20T10:{next(self._ids) % 60:02}:00Z"

    def _deploy(self, handle: str) -> dict[str, Any]:
        image = self.services[handle]["imagePath"]
        deploy = {"id": f"dep-{next(self._ids):03}", "status": "created", "image": {"ref": image}, "createdAt": NOW}
        self.deploys[handle].append(deploy)
        self.services[handle]["updatedAt"] = f"2026-11-20T11:{next(self._ids) % 60:02}:00Z"
        return deploy

    def _progress(self, handle: str) -> None:
        deploy = self.deploys[handle][-1]
        if deploy["status"] in ("created", "update_in_progress"):
            deploy["status"] = self.outcome(deploy["image"]["ref"])
            deploy["finishedAt"] = NOW

    def _paged(self, call: Call, thing: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        start = int(call.asked("cursor", "0"))
        part = items[start : start + int(call.asked("limit", "20"))]
        return [{"cursor": str(start + n + 1), thing: item} for n, item in enumerate(part)]
