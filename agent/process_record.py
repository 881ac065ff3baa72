"""What is remembered of a process, so that the next agent finds it again."""

from __future__ import annotations

from typing import Any, NamedTuple

from automator67.agent.cgroups import Limits
from automator67.agent.proctable import Process


class Record(NamedTuple):
    """One process as it is remembered in its ``process.json``. ``pid`` is also its session and group."""

    id: str
    app: str
    slot: int
    rev: str
    epoch: int
    pid: int
    start: int
    boot: str
    port: int = 0
    inner_port: int = 0
    started: float = 0.0
    restarts: int = 0
    ended: bool = False
    exit_code: int | None = None
    oom: bool = False
    volumes: tuple[str, ...] = ()
    stop_timeout: float = 10.0
    limits: Limits = Limits()


def from_stamp(env: dict[str, str], found: Process, boot: str) -> Record:
    """Return the record of a process that is only known by the stamp in its environment."""

    def whole(key: str) -> int:
        return int(env[key]) if env.get(key, "").isdigit() else 0

    port = whole("A67_PORT")
    return Record(
        env["A67_INSTANCE"], env.get("A67_APP", ""), whole("A67_SLOT"), env.get("A67_REV", ""), whole("A67_EPOCH"),
        found.pid, found.start, boot, port=port, started=found.started,
        volumes=tuple(v.rpartition("/")[2] for k, v in env.items() if k.startswith("A67_VOLUME_")),
    )  # fmt: skip


def to_json(record: Record) -> dict[str, Any]:
    """Return a record as it is written."""
    return record._asdict() | {"limits": record.limits._asdict()}


def from_json(doc: dict[str, Any] | None) -> Record | None:
    """Return a record that was written; None when there is none or it is damaged."""
    if doc is None:
        return None
    try:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in doc["limits"].items()}
        limits = Limits(**fields)
        return Record(**(doc | {"limits": limits, "volumes": tuple(doc["volumes"])}))
    except (KeyError, TypeError, AttributeError):
        return None
