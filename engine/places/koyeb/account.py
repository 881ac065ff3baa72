"""An organisation at Koyeb as a place. API: https://www.koyeb.com/docs/reference/api (v1, 2026-07).

A service belongs to an *app*, which has the public name; each of ours has one of its own, that goes with it. A service
is changed by a new definition, which becomes a deployment: one call, with the stamp among its variables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    holds,
    read_stamp,
    service_name,
)
from automator67.engine.places.protocol import Line, Message, Opened, Unit
from automator67.engine.places.times import epoch_seconds, rfc3339

Json = Mapping[str, Any]

PROVIDER = Provider(
    "Koyeb",
    "https://app.koyeb.com/v1",
    # "Rate limits" of the API reference.
    (Limit(400, 60),),
)
INSTANCE = "free"
PAGE = 100
_LIVE = frozenset({"HEALTHY", "DEGRADED", "SLEEPING"})
_FAILED = frozenset({"ERROR", "ERRORING", "CANCELED", "CANCELING", "UNHEALTHY"})


class KoyebAccount:
    """One organisation."""

    kind = "koyeb"

    def __init__(self, client: Client, region: str) -> None:
        self._client, self._region = client, region
        self._urls: dict[str, str] = {}
        self._apps: dict[str, str] = {}
        self._deployments: dict[str, Json] = {}
        self._organization = ""

    def identity(self) -> str:
        """Return the id of the organisation, empty while nothing there says it."""
        return self._organization

    def look(self, cloud: str, node: str) -> Found:
        """Read all services, and of ours the newest deployment, which tells what they should be and are."""
        ours, foreign = [], []
        prefix, deployments = service_name(cloud, ""), dict[str, Json]()
        services = [s for s in self._pages("/services", "services") if s.get("status") not in ("DELETING", "DELETED")]
        self._apps = {str(s["id"]): str(s["app_id"]) for s in services}
        for service in services:
            self._organization = str(service.get("organization_id", ""))
            named = str(service["name"]).startswith(prefix)
            deployment = self._deployment(str(service["latest_deployment_id"])) if named else {}
            definition = deployment.get("definition") or {}
            env = {str(e.get("key")): str(e.get("value", "")) for e in definition.get("env") or ()}
            stamp = read_stamp(env.get(STAMP))
            if stamp is None or (stamp.cloud, stamp.node) != (cloud, node):
                foreign.append(_foreign(service, definition))
                continue
            deployments[str(deployment["id"])] = deployment
            ours.append(_service(service, deployment, stamp, env, self._url(str(service["app_id"]))))
        self._deployments = deployments
        return Found(tuple(ours), tuple(foreign))

    def shape(self, cloud: str, unit: Unit, opened: Opened) -> dict[str, Any]:
        """Return the definition of a service, without its stamp. Pure."""
        m, name = unit.message, service_name(cloud, unit.app)
        command = list(m.get("command") or ())
        docker = {"image": full_name(str(m["image"]))} | (
            {"command": command[0], "args": command[1:]} if command else {}
        )
        env = environment(unit, opened.env)
        return {
            "name": name,
            "type": "WEB",
            "docker": docker,
            "ports": [{"port": m["port"], "protocol": "http"}],
            "routes": [{"port": m["port"], "path": "/"}],
            "env": [{"key": key, "value": value} for key, value in sorted(env.items())],
            "regions": [self._region],
            "instance_types": [{"type": INSTANCE}],
            "scalings": [{"min": 0, "max": 1}],
            "health_checks": _checks(m.get("health"), m["port"]),
        }

    def differences(self, wanted: Json, seen: Json) -> Iterator[str]:
        """Say where a service was changed in Koyeb's console. Pure."""
        for key, word in (("docker", "image or command"), ("ports", "port"), ("health_checks", "health check")):
            if not holds(seen.get(key), wanted[key]):
                yield f"its {word} is another"
        want, have = ({str(e["key"]): e.get("value") for e in shape.get("env", ())} for shape in (wanted, seen))
        yield from changed_names(want, have)
        if seen.get("paused"):
            yield "it was paused"

    def create(self, shape: Json, stamp: Stamp) -> None:
        """Make the app of a service, unless a try before this one has, and the service in it."""
        body = {"app_id": self._empty_app(str(shape["name"])), "definition": _stamped(shape, stamp)}
        self._client.call("POST", "/services", body=body)

    def update(self, service: Service, shape: Json, stamp: Stamp) -> None:
        """Deploy another definition."""
        at = f"/services/{quote(service.handle, safe='')}"
        if service.shape.get("paused"):
            self._client.call("POST", f"{at}/resume")
        self._client.call("PATCH", at, body={"definition": _stamped(shape, stamp)})

    def remove(self, handle: str) -> None:
        """Delete a service with its app, unless somebody else has put more into that."""
        app = self._apps[handle]
        alone = list(self._apps.values()).count(app) == 1
        at = f"/apps/{quote(app, safe='')}" if alone else f"/services/{quote(handle, safe='')}"
        self._client.delete(at)

    def lines(self, service: Service, since: float, tail: int) -> list[Line]:
        """Return a page of log lines: the newest, or those that follow a time."""
        query: dict[str, str | int] = {"type": "runtime", "service_id": service.handle}
        query |= {"limit": PAGE if tail < 0 else max(1, min(PAGE, tail)), "order": "asc" if since else "desc"}
        if since:
            query["start"] = rfc3339(since)
        found = self._client.get("/streams/logs/query", query).get("data") or []
        lines = [Line(epoch_seconds(e["created_at"]), _stream(e), str(e["msg"]).rstrip("\n")) for e in found]
        return sorted(lines, key=lambda line: line.at) if tail else []

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _deployment(self, handle: str) -> Json:
        known = self._deployments.get(handle)
        # Between sleeping and waking nothing changes that we act on.
        if known is not None and known.get("status") in _LIVE - {"DEGRADED"} | {"ERROR", "CANCELED"}:
            return known
        deployment: Json = self._client.get(f"/deployments/{quote(handle, safe='')}")["deployment"]
        return deployment

    def _url(self, app: str) -> str:
        if app not in self._urls:
            for one in self._pages("/apps", "apps"):
                names = [str(d["name"]) for d in one.get("domains") or () if d.get("type", "AUTOASSIGNED") != "CUSTOM"]
                if names:
                    self._urls[str(one["id"])] = f"https://{names[0]}"
        return self._urls.get(app, "")

    def _empty_app(self, name: str) -> str:
        there = [
            a for a in self._client.get("/apps", {"name": name, "limit": PAGE}).get("apps") or () if a["name"] == name
        ]
        if not there:
            body = {"name": name, "life_cycle": {"delete_when_empty": True}}
            return str(self._client.call("POST", "/apps", body=body)["app"]["id"])
        if str(there[0]["id"]) in self._apps.values():
            raise ApiError(f"Koyeb has an app {name} with a service that is not ours: rename or remove that one")
        return str(there[0]["id"])

    def _pages(self, path: str, things: str) -> Iterator[Json]:
        offset = 0
        while True:
            page = self._client.get(path, {"limit": PAGE, "offset": offset})
            found = page.get(things) or []
            yield from found
            offset += len(found)
            if not found or not page.get("has_next"):
                return


def _stamped(shape: Json, stamp: Stamp) -> dict[str, Any]:
    return {**shape, "env": [*shape["env"], {"key": STAMP, "value": stamp.text()}]}


def _checks(health: Json | None, port: int) -> list[dict[str, Any]]:
    if not health:
        return []
    at = health.get("port") or port
    check = {"http": {"port": at, "path": health["target"]}} if health["kind"] == "http" else {"tcp": {"port": at}}
    # Whole seconds only.
    interval, timeout = max(1, round(health["interval"])), max(1, round(health["timeout"]))
    return [{"interval": interval, "timeout": timeout, **check}]


def _service(service: Json, deployment: Json, stamp: Stamp, env: Mapping[str, str], url: str) -> Service:
    status, definition = str(deployment.get("status", "PENDING")), deployment.get("definition") or {}
    state: State = "deploying"
    why = ""
    if service.get("status") in ("PAUSED", "PAUSING"):
        state, why = "paused", "Koyeb paused it, or somebody in its console"
    elif status in _LIVE:
        state = "live"
    elif status in _FAILED:
        said = "; ".join(str(m) for m in deployment.get("messages") or ())
        state, why = "failed", f"Koyeb: the deployment is {status.lower()}{': ' if said else ''}{said}"[:500]
    rest = [{"key": key, "value": value} for key, value in env.items() if key != STAMP]
    shape = {**definition, "env": rest, "paused": service.get("status") == "PAUSED"}
    since = epoch_seconds(deployment.get("succeeded_at") or deployment.get("updated_at"))
    image = str((definition.get("docker") or {}).get("image", ""))
    return Service(str(service["id"]), stamp, state, url, since, image, why, shape)


def _foreign(service: Json, definition: Json) -> Message:
    image = str((definition.get("docker") or {}).get("image", ""))
    phase = "paused" if service.get("status") == "PAUSED" else "running"
    return {"name": str(service["name"])[:256], "image": image[:512], "phase": phase, "ports": []}


def _stream(entry: Json) -> Any:
    return "err" if (entry.get("labels") or {}).get("stream") == "stderr" else "out"
