"""A project and region of Google Cloud Run as a place. API: https://cloud.google.com/run/docs/reference/rest (v2).

One list tells everything: services carry the stamp as an annotation, their whole specification and their condition. One
call changes all of it. What exceeds the free tier is charged, so a service never has more than one instance.
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
from automator67.engine.places.times import epoch_seconds

Json = Mapping[str, Any]

_WRITES = frozenset({"POST", "PATCH", "DELETE"})
PROVIDER = Provider(
    "Cloud Run",
    "https://run.googleapis.com/v2",
    # "Quotas and limits": reads and writes of the Admin API, per project, region and minute.
    (Limit(3000, 60, frozenset({"GET"})), Limit(180, 60, _WRITES)),
    ("error.message",),
)
ANNOTATION = "automator67-stamp"
PAGE = 100
LEAST_MEMORY = 512
"""MiB: what an instance of the second generation has at the least."""


class CloudRunAccount:
    """Services of one project in one region."""

    kind = "cloudrun"

    def __init__(self, client: Client, project: str, region: str) -> None:
        self._client, self._project = client, project
        self._parent = f"/projects/{quote(project, safe='')}/locations/{region}"

    def identity(self) -> str:
        """Return the project."""
        return self._project

    def look(self, cloud: str, node: str) -> Found:
        """Read all services. Raises ApiError also where a part of them cannot be read now."""
        ours, foreign = [], []
        for service in self._pages():
            stamp = read_stamp((service.get("annotations") or {}).get(ANNOTATION))
            if stamp is None or (stamp.cloud, stamp.node) != (cloud, node):
                foreign.append(_foreign(service))
            else:
                ours.append(_service(service, stamp))
        return Found(tuple(ours), tuple(foreign))

    def shape(self, cloud: str, unit: Unit, opened: Opened) -> dict[str, Any]:
        """Return the template of a service, and its name. Pure."""
        m = unit.message
        env = {k: v for k, v in environment(unit, opened.env).items() if k != "PORT"}  # Cloud Run sets it itself.
        memory = max(LEAST_MEMORY, -(-int(m.get("memory") or 0) // 2**20))
        container: dict[str, Any] = {
            "image": full_name(str(m["image"])),
            "env": [{"name": key, "value": value} for key, value in sorted(env.items())],
            "ports": [{"containerPort": m["port"]}],
            "resources": {"limits": {"cpu": "1", "memory": f"{memory}Mi"}, "cpuIdle": True},
        }
        if m.get("command"):
            container["args"] = list(m["command"])
        if probe := _probe(m.get("health")):
            container["startupProbe"] = probe
        return {
            "name": service_name(cloud, unit.app),
            "template": {"containers": [container], "scaling": {"minInstanceCount": 0, "maxInstanceCount": 1}},
        }

    def differences(self, wanted: Json, seen: Json) -> Iterator[str]:
        """Say where a service was changed in Google's console. Pure."""
        (want,), have = wanted["template"]["containers"], (seen["template"].get("containers") or [{}])[0]
        for key, word in (("image", "image"), ("args", "command"), ("ports", "port"), ("startupProbe", "health check")):
            if not holds(have.get(key), want.get(key)):
                yield f"its {word} is another"
        ours, theirs = ({str(e["name"]): e.get("value", "") for e in c.get("env") or ()} for c in (want, have))
        yield from changed_names(ours, theirs)
        if not holds(seen["template"].get("scaling"), {"maxInstanceCount": 1}):
            yield "it may have more than one instance"

    def create(self, shape: Json, stamp: Stamp) -> None:
        """Make a service that everybody may ask: gateways decide who passes."""
        query = {"serviceId": str(shape["name"])}
        self._client.call("POST", f"{self._parent}/services", query=query, body=_body(shape, stamp))

    def update(self, service: Service, shape: Json, stamp: Stamp) -> None:
        """Replace the specification."""
        self._client.call("PATCH", self._at(service.handle), body=_body(shape, stamp))

    def remove(self, handle: str) -> None:
        """Delete a service."""
        self._client.delete(self._at(handle))

    def lines(self, service: Service, since: float, tail: int) -> list[Line]:  # noqa: ARG002
        """Google keeps logs in a service of its own."""
        raise ApiError(f"logs of {service.handle} are in Google's console (Cloud Logging), not here")

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _at(self, handle: str) -> str:
        return f"{self._parent}/services/{quote(handle, safe='')}"

    def _pages(self) -> Iterator[Json]:
        token = ""
        while True:
            query: dict[str, str | int] = {"pageSize": PAGE, **({"pageToken": token} if token else {})}
            page = self._client.get(f"{self._parent}/services", query)
            if page.get("unreachable"):
                raise ApiError(f"Cloud Run: {', '.join(page['unreachable'])} cannot be read now")
            yield from (s for s in page.get("services") or () if not s.get("deleteTime"))
            token = str(page.get("nextPageToken") or "")
            if not token:
                return


def _body(shape: Json, stamp: Stamp) -> dict[str, Any]:
    return {
        "annotations": {ANNOTATION: stamp.text()},
        "template": shape["template"],
        "ingress": "INGRESS_TRAFFIC_ALL",
        "invokerIamDisabled": True,
    }


def _probe(health: Json | None) -> dict[str, Any]:
    if not health:
        return {}
    period = max(1, round(health["interval"]))
    timeout = min(period, max(1, round(health["timeout"])))
    check = {"httpGet": {"path": health["target"]}} if health["kind"] == "http" else {"tcpSocket": {}}
    if health.get("port"):
        next(iter(check.values()))["port"] = health["port"]
    return {"periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": 3, **check}


def _service(service: Json, stamp: Stamp) -> Service:
    condition = service.get("terminalCondition") or {}
    state: State = "deploying"
    why = ""
    if not service.get("reconciling") and condition.get("state") == "CONDITION_SUCCEEDED":
        state = "live"
    elif not service.get("reconciling") and condition.get("state") == "CONDITION_FAILED":
        said = " ".join(str(condition.get("message") or condition.get("reason") or "no reason given").split())
        state, why = "failed", f"Cloud Run: {said}"[:500]
    template = service.get("template") or {}
    image = str((template.get("containers") or [{}])[0].get("image", ""))
    since = epoch_seconds(condition.get("lastTransitionTime") or service.get("updateTime"))
    handle = str(service["name"]).rpartition("/")[2]
    return Service(handle, stamp, state, str(service.get("uri", "")), since, image, why, {"template": template})


def _foreign(service: Json) -> Message:
    image = str(((service.get("template") or {}).get("containers") or [{}])[0].get("image", ""))
    name = str(service["name"]).rpartition("/")[2]
    return {"name": name[:256], "image": image[:512], "phase": "running", "ports": []}
