"""A workspace at Render as a place. API: https://api-docs.render.com/reference (v1, 2026-08).

What that API makes us do: a service has neither labels nor annotations, so the stamp is an environment variable. New
variables and settings change nothing before a deploy is asked for; they are written first, with a stamp that has no
mark, and the mark when the deploy is under way. So a change that was broken off anywhere is made again.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.apis.limits import Limit
from automator67.engine.image_name import full_name
from automator67.engine.places.hosted.place import Found
from automator67.engine.places.hosted.service import (
    STAMP,
    Service,
    Stamp,
    State,
    changed_names,
    environment,
    read_stamp,
    service_name,
)
from automator67.engine.places.protocol import Line, Message, Opened, Unit
from automator67.engine.places.times import epoch_seconds, rfc3339

Json = Mapping[str, Any]

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
PROVIDER = Provider(
    "Render",
    "https://api.render.com/v1",
    # The counts are those of the Ratelimit-Limit headers that Render sends; the windows are those of its
    # "Rate limiting" page, and of Ratelimit-Reset where that has none.
    (
        Limit(400, 60, frozenset({"GET"})),
        Limit(100, 60, _WRITES),
        Limit(20, 3600, frozenset({"POST"}), "/services"),
        Limit(10, 60, frozenset({"PATCH"}), "/services/[^/]+"),
        Limit(10, 60, frozenset({"POST"}), "/services/[^/]+/deploys"),
    ),
)
PLAN = "free"
PAGE = 100
TRUST_SECONDS = 600.0
"""How long what was read of a service counts while Render says that it has not changed."""
_FAILED = {
    "build_failed": "the image cannot be used", "update_failed": "it did not become healthy",
    "pre_deploy_failed": "what runs before a deploy failed", "canceled": "the deploy was cancelled",
}  # fmt: skip
_DONE = frozenset({"live", "deactivated"})


@dataclass(frozen=True, slots=True)
class _Details:
    """What has to be read of a service beside the list, and when it was."""

    updated: str
    env: Mapping[str, str]
    deploy: Mapping[str, Any]
    read_at: float


class RenderAccount:
    """One workspace. ``workspace`` is its id; empty: the only one that the key may use."""

    kind = "render"

    def __init__(
        self, client: Client, region: str, workspace: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._region, self._workspace, self._clock = client, region, workspace, clock
        self._details: dict[str, _Details] = {}

    def identity(self) -> str:
        """Return the id of the workspace."""
        if not self._workspace:
            owners = [entry["owner"]["id"] for entry in self._client.get("/owners", {"limit": 20})]
            if len(owners) != 1:
                raise ApiError(f"Render: the key opens {len(owners)} workspaces: say which in account: tea-...")
            self._workspace = str(owners[0])
        return self._workspace

    def look(self, cloud: str, node: str) -> Found:
        """Read all services, and of ours what the list does not tell; what has not changed is not read again."""
        ours, foreign, seen = [], [], set()
        prefix = service_name(cloud, "")
        for service in self._pages("/services", "service", {"ownerId": self.identity()}):
            details = self._read(service) if str(service["name"]).startswith(prefix) else None
            stamp = read_stamp(details.env.get(STAMP)) if details else None
            if details is None or stamp is None or (stamp.cloud, stamp.node) != (cloud, node):
                foreign.append(_foreign(service))
                continue
            seen.add(str(service["id"]))
            ours.append(_service(service, details, stamp))
        self._details = {handle: d for handle, d in self._details.items() if handle in seen}
        return Found(tuple(ours), tuple(foreign))

    def shape(self, cloud: str, unit: Unit, opened: Opened) -> dict[str, Any]:
        """Return what stands in a service: its name, image, details and environment. Pure."""
        health = unit.message.get("health") or {}
        return {
            "name": service_name(cloud, unit.app),
            # Render writes names out; ours must be the same, or it would differ from them for ever.
            "image": full_name(str(unit.message["image"])),
            "command": shlex.join(unit.message.get("command") or ()),
            "health": str(health.get("target", "")) if health.get("kind") == "http" else "",
            "env": environment(unit, opened.env),
        }

    def differences(self, wanted: Json, seen: Json) -> Iterator[str]:
        """Say where a service was changed in Render's dashboard. Pure."""
        for key, word in (("image", "image"), ("command", "command"), ("health", "health check path")):
            if wanted[key] != seen.get(key):
                yield f"its {word} is another"
        yield from changed_names(wanted["env"], seen.get("env", {}))
        if seen.get("suspended"):
            yield "it was suspended"

    def create(self, shape: Json, stamp: Stamp) -> None:
        """Make a web service from an image; it is deployed at once."""
        details = {"runtime": "image", "plan": PLAN, "region": self._region, "numInstances": 1, **_settings(shape)}
        self._client.call(
            "POST",
            "/services",
            body={
                "type": "web_service",
                "name": shape["name"],
                "ownerId": self.identity(),
                "image": self._image(shape),
                "envVars": _env_vars(shape, stamp),
                "serviceDetails": details,
            },
        )

    def update(self, service: Service, shape: Json, stamp: Stamp) -> None:
        """Write environment and settings, where they differ, and deploy them."""
        at = _at(service.handle)
        self._details.pop(service.handle, None)
        if service.shape.get("suspended"):
            self._client.call("POST", f"{at}/resume")
        self._client.call("PUT", f"{at}/env-vars", body=_env_vars(shape, replace(stamp, mark="")))
        if any(shape[key] != service.shape.get(key) for key in ("image", "command", "health")):
            body = {"image": self._image(shape), "serviceDetails": _settings(shape)}
            self._client.call("PATCH", at, body=body)
        self._client.call("POST", f"{at}/deploys", body={})
        self._client.call("PUT", f"{at}/env-vars/{STAMP}", body={"value": stamp.text()})

    def remove(self, handle: str) -> None:
        """Delete a service."""
        self._details.pop(handle, None)
        self._client.delete(_at(handle))

    def lines(self, service: Service, since: float, tail: int) -> list[Line]:
        """Return a page of log lines: the newest, or those that follow a time."""
        query: dict[str, str | int] = {"ownerId": self.identity(), "resource": service.handle}
        query |= {"limit": PAGE if tail < 0 else max(1, min(PAGE, tail))}
        query |= {"direction": "forward", "startTime": rfc3339(since)} if since else {"direction": "backward"}
        found = [_line(entry) for entry in self._client.get("/logs", query)["logs"]]
        return sorted(found, key=lambda line: line.at) if tail else []

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _read(self, service: Json) -> _Details:
        handle, updated = str(service["id"]), str(service["updatedAt"])
        known, now = self._details.get(handle), self._clock()
        if known is not None and known.updated == updated and now - known.read_at < TRUST_SECONDS:
            if known.deploy.get("status") in _DONE or known.deploy.get("status") in _FAILED:
                return known
            env, read_at = known.env, known.read_at
        else:
            pages = self._pages(f"{_at(handle)}/env-vars", "envVar", {})
            env, read_at = {str(e["key"]): str(e["value"]) for e in pages}, now
        deploys = self._client.get(f"{_at(handle)}/deploys", {"limit": 1})
        deploy = deploys[0]["deploy"] if deploys else {}
        self._details[handle] = _Details(updated, env, deploy, read_at)
        return self._details[handle]

    def _pages(self, path: str, thing: str, query: Mapping[str, str | int]) -> Iterator[Json]:
        cursor = ""
        while True:
            page = self._client.get(path, {**query, "limit": PAGE, **({"cursor": cursor} if cursor else {})})
            yield from (entry[thing] for entry in page)
            if len(page) < PAGE:
                return
            cursor = str(page[-1]["cursor"])

    def _image(self, shape: Json) -> dict[str, str]:
        return {"ownerId": self.identity(), "imagePath": str(shape["image"])}


def _at(handle: str) -> str:
    return f"/services/{quote(handle, safe='')}"


def _settings(shape: Json) -> dict[str, Any]:
    return {"healthCheckPath": shape["health"], "envSpecificDetails": {"dockerCommand": shape["command"]}}


def _env_vars(shape: Json, stamp: Stamp) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in {**shape["env"], STAMP: stamp.text()}.items()]


def _service(service: Json, details: _Details, stamp: Stamp) -> Service:
    inner, deploy = service.get("serviceDetails") or {}, details.deploy
    status = str(deploy.get("status", "created"))
    state: State = "deploying"
    why = ""
    if service.get("suspended") == "suspended":
        state, why = "paused", f"Render suspended it: {', '.join(service.get('suspenders') or ['no reason given'])}"
    elif stamp.mark and status in _DONE:
        state = "live"
    elif stamp.mark and status in _FAILED:
        state, why = "failed", f"Render: {_FAILED[status]} ({status})"
    shape = {
        "name": service["name"],
        "image": str(service.get("imagePath") or (deploy.get("image") or {}).get("ref", "")),
        "command": str((inner.get("envSpecificDetails") or {}).get("dockerCommand") or ""),
        "health": str(inner.get("healthCheckPath") or ""),
        "env": {key: value for key, value in details.env.items() if key != STAMP},
        "suspended": "user" in (service.get("suspenders") or ()),
    }
    since = epoch_seconds(deploy.get("finishedAt") or deploy.get("createdAt") or service.get("createdAt"))
    return Service(str(service["id"]), stamp, state, str(inner.get("url", "")), since, shape["image"], why, shape)


def _foreign(service: Json) -> Message:
    image = str(service.get("imagePath") or service.get("repo") or "")
    phase = "paused" if service.get("suspended") == "suspended" else "running"
    return {"name": str(service["name"])[:256], "image": image[:512], "phase": phase, "ports": []}


def _line(entry: Json) -> Line:
    labels: Iterable[Json] = entry.get("labels") or ()
    level = next((str(label["value"]) for label in labels if label.get("name") == "level"), "info")
    return Line(epoch_seconds(entry["timestamp"]), "err" if level in ("error", "warning") else "out", entry["message"])
