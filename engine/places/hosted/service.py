"""What an account's API shows of a service of ours, and how that becomes a unit. Pure.

Whose a service is, and what it should be, stands on the service itself as a *stamp*: a text that any provider can hold
in an environment variable. It is a program's only memory: an engine that lost its store reads there what runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from automator67.engine.places.protocol import Message, SeenUnit, Unit

STAMP = "A67_STAMP"
"""The environment variable that holds the stamp where a provider has neither labels nor annotations."""
State = Literal["deploying", "live", "failed", "paused"]
"""``live`` is asleep, too: a service that wakes with the next request is well."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Whose a service is and what it was last asked to be.

    ``mark`` is empty from the first write of a change to the last, so that one which was broken off is made again.
    ``was``: the revision and attempt that served before, and go on until the new one is live.
    """

    cloud: str
    node: str
    app: str
    rev: str
    attempt: int
    slots: tuple[int, ...]
    mark: str = ""
    was: tuple[str, int] | None = None

    def text(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def stamp_of(cloud: str, node: str, unit: Unit) -> Stamp:
    """Return the stamp of a unit, without its mark."""
    return Stamp(cloud, node, unit.app, unit.rev, unit.attempt, unit.slots)


def read_stamp(text: object) -> Stamp | None:
    """Return a stamp that was read back, None for what is none of ours or damaged."""
    try:
        doc = json.loads(str(text))
        was = doc.get("was")
        return Stamp(
            str(doc["cloud"]), str(doc["node"]), str(doc["app"]), str(doc["rev"]), int(doc["attempt"]),
            tuple(int(s) for s in doc["slots"]), str(doc.get("mark", "")), (str(was[0]), int(was[1])) if was else None,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Service:
    """A service of ours as the provider has it. ``url`` is its public one; ``since``: in this state, since the epoch.

    ``shape`` is what of it the adapter's own ``shape`` makes. ``why`` says what is wrong, or why it failed.
    """

    handle: str
    stamp: Stamp
    state: State
    url: str = ""
    since: float = 0.0
    image: str = ""
    why: str = ""
    shape: Mapping[str, Any] = field(default_factory=dict, repr=False)


def service_name(cloud: str, app: str) -> str:
    """Return the name of an app's service; with the cloud in it when that is not called ``home``."""
    return f"a67-{app}" if cloud == "home" else f"a67-{cloud}-{app}"


def environment(unit: Unit, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a unit, opened secrets (``extra``) included."""
    found = {str(k): str(v) for k, v in unit.message.get("env", {}).items()} | dict(extra)
    if unit.message.get("port") is not None:
        found.setdefault("PORT", str(unit.message["port"]))
    return found


def changed_names(wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> Iterator[str]:
    """Say which variables are others than wanted, without their values."""
    if names := sorted(k for k in {*wanted, *seen} if wanted.get(k) != seen.get(k)):
        yield f"env: {', '.join(names)}"


def holds(seen: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there, beside what the provider adds by itself; None: nothing is."""
    if wanted is None:
        return True
    if isinstance(wanted, Mapping):
        return isinstance(seen, Mapping) and all(holds(seen.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        same = isinstance(seen, list) and len(seen) == len(wanted)
        return same and all(holds(s, w) for s, w in zip(seen, wanted, strict=True))
    return bool(seen == wanted)


def unit_of(service: Service) -> SeenUnit:
    """Return the unit that a service is."""
    s, failed = service.stamp, service.state == "failed"
    return SeenUnit(
        s.app, s.rev, s.attempt, s.slots, service.handle,
        mark=s.mark, shape=service.shape, instances=tuple(_instances(service)),
        gave_up=(s.rev, s.attempt) if failed and s.was is not None else None, why=service.why,
        changing=service.state == "deploying",
    )  # fmt: skip


def _instances(service: Service) -> Iterator[Message]:
    stamp = service.stamp
    phase = {"deploying": "starting", "live": "running", "failed": "failed", "paused": "paused"}[service.state]
    for slot in stamp.slots:
        if service.state == "live" or stamp.was is None or stamp.was[0] == stamp.rev:
            yield _instance(service, slot, stamp.rev, stamp.attempt, phase)
            continue
        if service.state in ("deploying", "failed"):
            # The provider sends requests to what served before until the new one is healthy.
            yield _instance(service, slot, *stamp.was, "running")
        yield _instance(service, slot, stamp.rev, stamp.attempt, phase)


def _instance(service: Service, slot: int, rev: str, attempt: int, phase: str) -> dict[str, Any]:
    app, running = service.stamp.app, phase == "running"
    return {
        "id": f"{app}-{slot}-{rev}", "app": app, "slot": slot, "rev": rev, "epoch": attempt, "phase": phase,
        "health": "healthy" if running else "starting" if phase == "starting" else "none",
        "since": service.since, "healthy_since": service.since if running else 0.0,
        "detail": "" if running else service.why[:1000], "address": service.url if running else "",
        "image": service.image[:512],
    }  # fmt: skip


def of_ours(services: Iterable[Service], cloud: str, node: str) -> dict[str, SeenUnit]:
    """Return by app the units of this node; of two services of one app, the older name wins until one is removed."""
    found: dict[str, SeenUnit] = {}
    for service in sorted(services, key=lambda s: s.handle):
        if (service.stamp.cloud, service.stamp.node) == (cloud, node):
            found.setdefault(service.stamp.app, unit_of(service))
    return found
