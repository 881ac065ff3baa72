"""A stand-in for Cloud Run's Admin API with a memory, held to Google's discovery document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from automator67.engine.places.cloudrun.account import PROVIDER
from tests.support.contracts import contract
from tests.support.openapi import Described
from tests.support.standin import Answer, Call, Refused, StandIn, below

NOW = "2026-11-20T10:00:00Z"
PARENT = "/v2/projects/ana-1/locations/europe-west1/services"


class CloudRunApi:
    """A project in one region. ``unreachable``: regions whose services it cannot list now."""

    good, bad, busy = "CONDITION_SUCCEEDED", "CONDITION_FAILED", "CONDITION_RECONCILING"

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.outcome: Callable[[str], str] = lambda image: "CONDITION_SUCCEEDED"
        self.unreachable: list[str] = []
        self.standin = StandIn(
            Described(contract("gcp/run.v2.json")),
            self._answer,
            below("/v2", PROVIDER.limits),
            token="google_test",
            refusal=lambda s: {"error": {"code": s, "message": f"no: {s}", "status": "X"}},
        )

    def images(self) -> Mapping[str, str]:
        """Return by name of service the image that it is set to run."""
        return {name: s["template"]["containers"][0]["image"] for name, s in self.services.items()}

    def add_foreign(self, name: str) -> None:
        """Add a service that is not ours."""
        self._write(name, {"template": {"containers": [{"image": "theirs:1"}]}})

    def change_by_hand(self, name: str) -> None:
        """Give a service another image."""
        self.services[name]["template"]["containers"][0]["image"] = "somebody/elses:9"

    def _answer(self, call: Call) -> Answer:
        assert call.path.startswith(PARENT), call.path
        name = call.path.removeprefix(PARENT).removeprefix("/")
        if call.method == "GET":
            for service in self.services.values():
                self._progress(service)
            start = int(call.asked("pageToken", "0"))
            end = start + int(call.asked("pageSize"))
            page: dict[str, Any] = {"services": list(self.services.values())[start:end]}
            if end < len(self.services):
                page["nextPageToken"] = str(end)
            return 200, page | ({"unreachable": self.unreachable} if self.unreachable else {})
        if call.method == "POST":
            name = call.asked("serviceId")
            if name in self.services:
                raise Refused(409)
        elif name not in self.services:
            raise Refused(404)
        if call.method == "DELETE":
            del self.services[name]
        else:
            self._write(name, call.body)
        return 200, {"name": "operations/1", "done": False}

    def _write(self, name: str, body: dict[str, Any]) -> None:
        self.services[name] = {
            **body, "name": f"{PARENT.removeprefix('/v2/')}/{name}", "uri": f"https://{name}-1.europe-west1.run.app",
            "reconciling": True, "updateTime": NOW, "terminalCondition": {"type": "Ready"},
        }  # fmt: skip

    def _progress(self, service: dict[str, Any]) -> None:
        if service["reconciling"]:
            state = self.outcome(service["template"]["containers"][0]["image"])
            service["terminalCondition"] = {
                "type": "Ready", "state": state, "message": "it said why", "lastTransitionTime": NOW,
            }  # fmt: skip
            service["reconciling"] = state == self.busy
