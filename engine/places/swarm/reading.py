"""Reads what a manager answers (services, tasks, nodes of the Docker Engine API 1.41) into a ``Seen``. Pure.

A task's slot is a number of Swarm's own; the slots of ours that a service stands for are in its label. They are
matched by rank: the lowest slot of Swarm's that is alive is the lowest of ours. A task that Swarm has asked to stop is
not reported any more, so that no request is sent there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from automator67.engine.places.protocol import Message, Seen, SeenUnit
from automator67.engine.places.swarm.spec import APP, CLOUD, EPOCH, MARK, NODE, REV, SLOTS
from automator67.engine.places.times import epoch_seconds

Json = Mapping[str, Any]

_PHASES = {
    "new": "pending", "pending": "pending", "assigned": "pending", "accepted": "pending", "preparing": "pulling",
    "ready": "starting", "starting": "starting", "running": "running", "complete": "exited", "shutdown": "exited",
    "failed": "failed", "rejected": "failed", "orphaned": "missing", "remove": "missing",
}  # fmt: skip
_ALIVE = frozenset({"new", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running"})
_NO_IMAGE = re.compile(r"No such image: (\S+)")


def read(cloud: str, node: str, info: Json, services: Sequence[Json], tasks: Sequence[Json], nodes: Sequence[Json],
         host: str) -> Seen:  # fmt: skip
    """Return what a manager shows. ``host`` stands in for the address of a machine that knows only 0.0.0.0."""
    ours = [s for s in services if _labels(s).get(CLOUD) == cloud and _labels(s).get(NODE) == node]
    mine = {str(s["ID"]) for s in ours}
    by_service: dict[str, list[Json]] = {}
    for task in tasks:
        by_service.setdefault(str(task.get("ServiceID")), []).append(task)
    addresses = {str(n["ID"]): _address(n, host) for n in nodes}
    usable = [n for n in nodes if _usable(n)]
    reserved_cpu, reserved_memory = _reserved(by_service, mine)
    return Seen(
        {
            str(_labels(s)[APP]): _unit(s, by_service.get(str(s["ID"]), []), addresses)
            for s in ours
            if APP in _labels(s)
        },
        tuple(_foreign(s) for s in services if str(s["ID"]) not in mine),
        tuple(_conditions(nodes)),
        max(0.0, sum(_resource(n, "NanoCPUs") for n in usable) / 1e9 - reserved_cpu),
        max(0, sum(_resource(n, "MemoryBytes") for n in usable) - reserved_memory),
        epoch_seconds(str(info.get("SystemTime", ""))),
        str((info.get("Swarm", {}).get("Cluster") or {}).get("ID", "")),
    )


def task_of(instance: str, unit: SeenUnit) -> str:
    """Return the id of the task that an instance is, or nothing."""
    return next((str(m["task"]) for m in unit.instances if m["id"] == instance), "")


def _unit(service: Json, tasks: Sequence[Json], addresses: Mapping[str, str]) -> SeenUnit:
    labels, spec = _labels(service), service["Spec"]
    slots = tuple(int(s) for s in labels.get(SLOTS, "").split(",") if s.isdigit())
    status = service.get("UpdateStatus") or {}
    state = str(status.get("State", ""))
    gave_up, why = _gave_up(labels.get(REV, ""), state, tasks)
    return SeenUnit(
        app=labels[APP],
        rev=labels.get(REV, ""),
        attempt=_number(labels.get(EPOCH)),
        slots=slots,
        handle=str(service["ID"]),
        version=int(service["Version"]["Index"]),
        mark=labels.get(MARK, ""),
        shape=spec,
        instances=tuple(_instances(labels[APP], slots, tasks, addresses)),
        gave_up=gave_up,
        why=why,
        changing=state in ("updating", "rollback_started"),
    )


def _gave_up(rev: str, state: str, tasks: Sequence[Json]) -> tuple[tuple[str, int] | None, str]:
    """Return the revision and attempt that Swarm rolled back, with the reason of the last task of it that failed."""
    if not state.startswith("rollback"):
        return None, ""
    others = [t for t in tasks if _stamp(t).get(REV) not in (rev, None)]
    if not others:
        return None, ""
    last = max(others, key=lambda t: str(t.get("CreatedAt", "")))
    stamp = _stamp(last)
    failed = [t for t in others if _stamp(t) == stamp and _fault(t)]
    fault = _fault(max(failed, key=_at)) if failed else "it did not become healthy"
    return (str(stamp[REV]), _number(stamp.get(EPOCH))), f"Swarm went back to revision {rev}: {fault}"


def _instances(
    app: str, slots: Sequence[int], tasks: Sequence[Json], addresses: Mapping[str, str]
) -> Iterable[dict[str, Any]]:
    by_slot: dict[int, list[Json]] = {}
    for task in tasks:
        by_slot.setdefault(int(task.get("Slot", 0)), []).append(task)
    live = sorted(n for n, mine in by_slot.items() if any(_wanted(t) for t in mine))
    dead = sorted((n for n in by_slot if n not in live), key=lambda n: -max(_at(t) for t in by_slot[n]))
    # A copy that ended for good (restart: no) still is one; what was there before it is history.
    numbers = sorted(live + dead[: max(0, len(slots) - len(live))])
    for slot, number in zip(slots, numbers, strict=False):
        history = by_slot[number]
        shown = [t for t in history if _wanted(t)] or [max(history, key=_at)]
        newest: dict[str, Json] = {}
        for task in sorted(shown, key=lambda t: (_state(t) == "running", _at(t))):
            newest[_stamp(task).get(REV, "")] = task
        for rev, task in newest.items():
            if rev:
                yield _instance(app, slot, rev, task, history, addresses)


def _instance(
    app: str, slot: int, rev: str, task: Json, history: Sequence[Json], addresses: Mapping[str, str]
) -> dict[str, Any]:
    state, at = _state(task), _at(task)
    earlier = [
        t for t in history if t is not task and _stamp(t).get(REV) == rev and _state(t) in ("failed", "rejected")
    ]
    probed = bool(((task["Spec"].get("ContainerSpec") or {}).get("Healthcheck") or {}).get("Test"))
    running = state == "running"
    container = (task.get("Status") or {}).get("ContainerStatus") or {}
    code = container.get("ExitCode")
    detail = "" if running else _fault(task) or (_fault(max(earlier, key=_at)) if earlier else "")
    return {
        "id": f"{app}-{slot}-{rev}", "app": app, "slot": slot, "rev": rev,
        "epoch": _number(_stamp(task).get(EPOCH)),
        "phase": _PHASES.get(state, "pending"),
        # With a health check, Swarm calls a task running only once it is healthy, and replaces it when it is not.
        "health": ("healthy" if running else "starting" if state in ("ready", "starting") else "none")
        if probed else "none",
        "since": at, "healthy_since": at if running else 0.0, "restarts": len(earlier),
        "exit_code": code if isinstance(code, int) and code >= 0 and not running else None,
        "detail": detail[:1000],
        "address": _reach(task, addresses) if running else "",
        "image": str((task["Spec"].get("ContainerSpec") or {}).get("Image", ""))[:512],
        "task": str(task["ID"]),
    }  # fmt: skip


def _reach(task: Json, addresses: Mapping[str, str]) -> str:
    host = addresses.get(str(task.get("NodeID")), "")
    ports = ((task.get("Status") or {}).get("PortStatus") or {}).get("Ports") or []
    port = next((p["PublishedPort"] for p in ports if p.get("PublishedPort")), None)
    return f"[{host}]:{port}" if port and ":" in host else f"{host}:{port}" if port and host else ""


def _fault(task: Json) -> str:
    status = task.get("Status") or {}
    said = " ".join(str(status.get("Err") or "").split())
    if found := _NO_IMAGE.search(said):
        return f"image {found[1]} is not in the swarm and could not be pulled"
    said = said.removeprefix("task: ")
    return {"": "", "non-zero exit (137)": "it was killed (exit 137), perhaps for its memory limit"}.get(said, said)


def _wanted(task: Json) -> bool:
    return task.get("DesiredState") in ("ready", "running") and _state(task) in _ALIVE


def _state(task: Json) -> str:
    return str((task.get("Status") or {}).get("State", "new"))


def _at(task: Json) -> float:
    return epoch_seconds(str((task.get("Status") or {}).get("Timestamp", "")))


def _stamp(task: Json) -> Mapping[str, str]:
    container = (task.get("Spec") or {}).get("ContainerSpec") or {}
    return container.get("Labels") or {}


def _labels(service: Json) -> Mapping[str, str]:
    return service["Spec"].get("Labels") or {}


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 1


def _usable(node: Json) -> bool:
    return (node.get("Status") or {}).get("State") == "ready" and node["Spec"].get("Availability") == "active"


def _conditions(nodes: Sequence[Json]) -> Iterable[str]:
    for n in nodes:
        name = (n.get("Description") or {}).get("Hostname") or n["ID"]
        state, availability = (n.get("Status") or {}).get("State"), n["Spec"].get("Availability")
        if state != "ready":
            yield f"machine {name} is {state}"
        elif availability != "active":
            yield f"machine {name} is on {availability}"


def _resource(node: Json, name: str) -> int:
    return int(((node.get("Description") or {}).get("Resources") or {}).get(name, 0))


def _reserved(by_service: Mapping[str, Sequence[Json]], mine: set[str]) -> tuple[float, int]:
    """Return cores and bytes that tasks of others have reserved."""
    cpu, memory = 0, 0
    for service, tasks in by_service.items():
        for task in tasks if service not in mine else ():
            if _wanted(task):
                kept = ((task.get("Spec") or {}).get("Resources") or {}).get("Reservations") or {}
                cpu, memory = cpu + int(kept.get("NanoCPUs", 0)), memory + int(kept.get("MemoryBytes", 0))
    return cpu / 1e9, memory


def _address(node: Json, host: str) -> str:
    own = str((node.get("Status") or {}).get("Addr", ""))
    if own in ("", "0.0.0.0", "::"):  # noqa: S104
        own = str((node.get("ManagerStatus") or {}).get("Addr", "")).rpartition(":")[0].strip("[]")
    return host if own in ("", "0.0.0.0", "::") else own  # noqa: S104


def _foreign(service: Json) -> Message:
    spec = service["Spec"]
    ports = ((service.get("Endpoint") or {}).get("Ports")) or []
    return {
        "name": str(spec.get("Name", ""))[:256],
        "image": str(((spec.get("TaskTemplate") or {}).get("ContainerSpec") or {}).get("Image", ""))[:512],
        "phase": "running",
        "ports": [int(p["PublishedPort"]) for p in ports if p.get("PublishedPort")][:100],
    }
