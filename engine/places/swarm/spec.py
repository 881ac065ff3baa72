"""An app as a Swarm service: the ServiceSpec of the Docker Engine API (1.41) for a unit. Pure.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Service
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from automator67.engine.places.protocol import Opened, Unit

CLOUD, NODE, APP, REV, EPOCH = "a67.cloud", "a67.node", "a67.app", "a67.rev", "a67.epoch"
SLOTS, MARK = "a67.slots", "a67.mark"
LEAST_MONITOR = 1.0
"""Swarm takes a monitor of 0 s for its default of 5 s."""
_RESTART = {"always": "any", "on-failure": "on-failure", "no": "none"}
_HTTP = (
    'if command -v wget >/dev/null; then exec wget -q -O /dev/null "$1"; fi; '
    'if command -v curl >/dev/null; then exec curl -fsS -o /dev/null "$1"; fi; '
    'echo "the image has neither wget nor curl: use health.command" >&2; exit 1'
)
"""The Docker Engine itself ends a probe that takes longer than its timeout."""
_TCP = 'grep -qi ":$1 0*:0000 0A" /proc/net/tcp /proc/net/tcp6'
"""A listening socket of that port, in the kernel's own table: no program for it is needed in the image."""


def service_name(cloud: str, app: str) -> str:
    """Return the name of an app's service; with the cloud in it when that is not called ``home``."""
    return f"a67-{app}" if cloud == "home" else f"a67-{cloud}-{app}"


def secret_name(cloud: str, unit: Unit, n: int) -> str:
    """Return the name of the n-th secret of a revision; the values are part of the revision."""
    return f"{service_name(cloud, unit.app)}-{unit.rev}-{n}"


def service_spec(cloud: str, node: str, unit: Unit, opened: Opened) -> dict[str, Any]:
    """Return the ServiceSpec for a unit. Secret files are named, not contained; their ids are the adapter's part."""
    m = unit.message
    stamp = {CLOUD: cloud, NODE: node, APP: unit.app, REV: unit.rev, EPOCH: str(unit.attempt)}
    update = m.get("update") or {}
    healthy_for, extra = float(update.get("healthy_for", 0)), int(update.get("max_extra", 1))
    order = "start-first" if extra else "stop-first"
    memory, cpu = int(m.get("memory") or 0), int(float(m.get("cpu") or 0) * 1e9)
    return {
        "Name": service_name(cloud, unit.app),
        "Labels": {**stamp, SLOTS: ",".join(str(s) for s in unit.slots)},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": m["image"],
                "Command": [],
                "Args": list(m.get("command") or ()),
                "Env": _environment(m, opened),
                "Labels": stamp,
                "User": m.get("user") or "",
                "Init": True,
                "StopGracePeriod": _ns(float(m.get("stop_timeout") or 10)),
                "Healthcheck": _healthcheck(m.get("health"), m.get("port")),
                "Mounts": [],
                "Hosts": [],
                "CapabilityAdd": [],
                "Configs": [],
                "Secrets": [
                    {
                        "File": {"Name": path, "UID": "0", "GID": "0", "Mode": 0o444},
                        "SecretName": secret_name(cloud, unit, n),
                    }
                    for n, (path, _) in enumerate(opened.files)
                ],
            },
            "Resources": {
                "Limits": {"NanoCPUs": cpu, "MemoryBytes": memory},
                # CPU is shared and may be promised more than once; memory is not.
                "Reservations": {"MemoryBytes": memory},
            },
            "RestartPolicy": {"Condition": _RESTART[m.get("restart", "always")], "Delay": _ns(2), "MaxAttempts": 0},
            "Placement": {"Constraints": []},
            "Networks": [],
            "LogDriver": {"Name": "json-file", "Options": {"max-size": "10m", "max-file": "3"}},
        },
        "Mode": {"Replicated": {"Replicas": len(unit.slots)}},
        "UpdateConfig": {
            "Parallelism": max(1, extra),
            "Delay": _ns(healthy_for),
            "FailureAction": "rollback",
            "Monitor": _ns(max(healthy_for, LEAST_MONITOR)),
            "MaxFailureRatio": 0,
            "Order": order,
        },
        "RollbackConfig": {
            "Parallelism": 0,
            "FailureAction": "pause",
            "Monitor": _ns(max(healthy_for, LEAST_MONITOR)),
            "MaxFailureRatio": 0,
            "Order": order,
        },
        "EndpointSpec": {"Mode": "vip", "Ports": _ports(m.get("port"))},
    }


def _environment(m: Mapping[str, Any], opened: Opened) -> list[str]:
    env = {**m.get("env", {}), **opened.env}
    if m.get("port") is not None:
        env.setdefault("PORT", str(m["port"]))
    return [f"{key}={value}" for key, value in sorted(env.items())]


def _ports(port: int | None) -> list[dict[str, Any]]:
    """Publish each copy at a port of its machine that the Docker Engine chooses.

    So the gateway sees every copy, balances and judges them itself; and two of them, old and new, fit on a machine.
    """
    return [] if port is None else [{"Protocol": "tcp", "TargetPort": port, "PublishMode": "host"}]


def _healthcheck(health: Mapping[str, Any] | None, port: int | None) -> dict[str, Any]:
    if not health:
        return {}
    at = health.get("port") or port
    match health["kind"]:
        case "http":
            url = f"http://127.0.0.1:{at}{health['target']}"
            test = ["CMD", "sh", "-c", _HTTP, "probe", url]
        case "tcp":
            test = ["CMD", "sh", "-c", _TCP, "probe", f"{int(at or 0):04X}"]
        case _:
            test = ["CMD", *health["command"]]
    return {
        "Test": test,
        "Interval": _ns(float(health["interval"])),
        "Timeout": _ns(float(health["timeout"])),
        "Retries": int(health["unhealthy_after"]),
        "StartPeriod": _ns(float(health.get("start_period", 0))),
    }


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


_WORDS = {
    "TaskTemplate.ContainerSpec.Image": "image",
    "TaskTemplate.ContainerSpec.Args": "command",
    "TaskTemplate.ContainerSpec.Command": "entry point",
    "TaskTemplate.ContainerSpec.User": "user",
    "TaskTemplate.ContainerSpec.StopGracePeriod": "stop timeout",
    "TaskTemplate.ContainerSpec.Healthcheck": "health check",
    "TaskTemplate.ContainerSpec.Mounts": "mounts",
    "TaskTemplate.ContainerSpec.CapabilityAdd": "added capabilities",
    "TaskTemplate.ContainerSpec.Secrets": "secrets",
    "TaskTemplate.Resources.Limits.NanoCPUs": "cpu limit",
    "TaskTemplate.Resources.Limits.MemoryBytes": "memory limit",
    "TaskTemplate.Placement.Constraints": "constraints",
    "TaskTemplate.Networks": "networks",
    "Mode.Replicated.Replicas": "replicas",
    "EndpointSpec.Ports": "published ports",
}


def differences(wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in words where a service's spec is not as it was made. Values that may be secret are not in them.

    Only what we set counts; an empty value is the same as an absent one, since Swarm leaves those out.
    """
    return tuple(dict.fromkeys(_differences(wanted, seen, "")))[:32]


def _differences(wanted: Mapping[str, Any], seen: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in wanted.items():
        here, there = f"{path}.{key}" if path else key, seen.get(key)
        if here == "TaskTemplate.ContainerSpec.Env":
            yield from _environments(value, there or ())
        elif isinstance(value, Mapping) and value and (there is None or isinstance(there, Mapping)):
            if here == "TaskTemplate.ContainerSpec.Healthcheck":
                if next(_differences(value, there or {}, here), None):
                    yield "health check is another one"
            else:
                yield from _differences(value, there or {}, here)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            if not _same_list(value, there):
                yield f"{_WORDS.get(here, here)} are others"
        elif (value or None) != (there or None):
            yield f"{_WORDS.get(here, here)} is {_shown(there)}, not {_shown(value)}"


def _same_list(wanted: Sequence[Mapping[str, Any]], seen: Any) -> bool:
    if not isinstance(seen, list) or len(seen) != len(wanted):
        return False
    return all(not list(_differences(w, s, "-")) for w, s in zip(wanted, seen, strict=True))


def _environments(wanted: Sequence[str], seen: Sequence[str]) -> Iterator[str]:
    before = dict(entry.partition("=")[::2] for entry in wanted)
    after = dict(entry.partition("=")[::2] for entry in seen)
    for name in sorted({*before, *after}):
        if name not in after:
            yield f"env {name} is gone"
        elif before.get(name) != after[name]:
            yield f"env {name} has another value" if name in before else f"env {name} was added"


def _shown(value: Any) -> str:
    if value in (None, [], {}, ""):
        return "unset"
    return str(value)[:80]
