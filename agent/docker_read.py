"""What the Docker Engine says of a container, as a value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from automator67.agent import naming
from automator67.agent.model import Ended, Seen, State

_STATES: dict[str, State] = {
    "created": "created", "running": "running", "paused": "paused", "restarting": "restarting",
    "exited": "exited", "dead": "dead", "removing": "removing",
}  # fmt: skip
# A container that its policy restarts can look exited for an instant; only after this long is it taken as stopped.
SETTLE = 1.0


class Foreign(NamedTuple):
    """A container that is not ours; ``ports`` are those published on this node."""

    name: str
    image: str
    phase: str
    ports: tuple[int, ...]


class History(NamedTuple):
    """What events have told of one container: who stopped it, and how it last ended."""

    by_hand: bool = False
    exit_code: int | None = None
    oom: bool = False


class Moment(NamedTuple):
    """When it is (seconds since the epoch), when the machine booted, and when the Docker Engine was last away."""

    now: float
    boot: float = 0.0
    away_from: float = 0.0
    away_until: float = 0.0


def is_ours(labels: Mapping[str, str] | None, cloud: str, node: str) -> bool:
    """Whether labels carry this cloud's and this node's stamp."""
    found = labels or {}
    return found.get(naming.CLOUD) == cloud and found.get(naming.NODE) == node and bool(found.get(naming.INSTANCE))


def foreign(entry: Mapping[str, Any]) -> Foreign:
    """Return a container of the short list as one that is not ours."""
    ports = {int(p["PublicPort"]) for p in entry.get("Ports") or () if p.get("PublicPort")}
    return Foreign(_name(entry), str(entry.get("Image", "")), str(entry.get("State", "")), tuple(sorted(ports)))


def seen(doc: Mapping[str, Any], ours: bool, history: History, moment: Moment, last_line: str = "") -> Seen:
    """Return an inspected container; without our stamp (``ours`` False) it is one that an instance may adopt."""
    state, config, host = doc.get("State") or {}, doc.get("Config") or {}, doc.get("HostConfig") or {}
    network = doc.get("NetworkSettings") or {}
    labels = (config.get("Labels") or {}) if ours else {}
    phase = _STATES.get(str(state.get("Status")), "dead")
    policy = str((host.get("RestartPolicy") or {}).get("Name") or "")
    exit_code: int | None = int(state.get("ExitCode") or 0)
    oom = bool(state.get("OOMKilled"))
    if phase in ("running", "paused"):
        # How it ended the last time, where it has been restarted; the engine itself forgets that at a start.
        exit_code, oom = history.exit_code, history.oom
    elif phase == "created":
        exit_code = None
    return Seen(
        runtime="docker",
        handle=str(doc.get("Id", "")),
        name=_name(doc),
        state=phase,
        instance=labels.get(naming.INSTANCE, ""),
        app=labels.get(naming.APP, ""),
        slot=_whole(labels.get(naming.SLOT)),
        rev=labels.get(naming.REV, ""),
        epoch=_whole(labels.get(naming.EPOCH)),
        ended=how_ended(state, policy, history, moment) if phase == "exited" else "",
        started=epoch_seconds(str(state.get("StartedAt", ""))),
        exit_code=exit_code,
        oom=oom or (phase != "running" and history.oom),
        restarts=int(doc.get("RestartCount") or 0),
        error=str(state.get("Error") or ""),
        last_line=last_line,
        ports=_addresses(network.get("Ports") or {}),
        ip=next((str(n["IPAddress"]) for n in (network.get("Networks") or {}).values() if n.get("IPAddress")), ""),
        image=str(config.get("Image", "")),
        memory=int(host.get("Memory") or 0),
        cpu=_cores(host),
        restart=policy,
        volumes=tuple(str(m.get("Name")) for m in doc.get("Mounts") or () if m.get("Type") == "volume"),
        stop_timeout=float(config["StopTimeout"] if config.get("StopTimeout") is not None else 10),
        pid=int(state.get("Pid") or 0),
    )


def how_ended(state: Mapping[str, Any], policy: str, history: History, moment: Moment) -> Ended:
    """Return who ended an exited container; empty while that cannot be told yet.

    The Docker Engine does not record it. An event says it when we were listening. Otherwise: what its policy would
    have restarted and is not running was stopped by a hand, unless the engine or the machine went down under it.
    """
    finished = epoch_seconds(str(state.get("FinishedAt", "")))
    # Until it went away the engine may have been stopping containers for a while: 15 s by default.
    if moment.away_from and moment.away_from - 30 <= finished <= moment.away_until + 1:
        return "daemon"
    if epoch_seconds(str(state.get("StartedAt", ""))) < moment.boot:
        return "daemon"
    if history.by_hand:
        return "hand"
    if state.get("Error"):
        return "self"
    restarted = policy in ("always", "unless-stopped") or (policy == "on-failure" and bool(state.get("ExitCode")))
    if not restarted:
        return "self"
    return "hand" if abs(moment.now - finished) >= SETTLE else ""


def epoch_seconds(text: str) -> float:
    """Return a time such as ``2026-02-03T04:05:06.789Z`` in seconds since the epoch; 0 for the engine's "never".

    By hand because the standard library's ways bring in a megabyte of locale tables.
    """
    try:
        year, month, day = int(text[0:4]), int(text[5:7]), int(text[8:10])
        seconds = int(text[11:13]) * 3600 + int(text[14:16]) * 60
        seconds_part = text[17:].rstrip("Z").partition("+")[0]
        # Days from the civil date, counting years from March so that the leap day comes last.
        y = year - (month <= 2)
        day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
        days = y * 365 + y // 4 - y // 100 + y // 400 + day_of_year - 719468
        return max(0.0, days * 86400 + seconds + float(seconds_part))
    except ValueError:
        return 0.0


def _name(doc: Mapping[str, Any]) -> str:
    names = doc.get("Names") or [doc.get("Name") or ""]
    # A linked container has several names with further slashes; its own is the one with a single slash.
    own = next((n for n in names if n.count("/") <= 1), names[0])
    return str(own).lstrip("/")


def _addresses(ports: Mapping[str, Any]) -> tuple[tuple[int, str], ...]:
    found = []
    for key, bindings in ports.items():
        number, _, protocol = key.partition("/")
        if protocol != "tcp" or not bindings or not number.isdigit():
            continue
        ip, port = str(bindings[0].get("HostIp") or ""), str(bindings[0].get("HostPort") or "")
        if port:
            found.append((int(number), f"{'127.0.0.1' if ip in ('', '0.0.0.0', '::') else ip}:{port}"))  # noqa: S104
    return tuple(sorted(found))


def _cores(host: Mapping[str, Any]) -> float:
    if host.get("NanoCpus"):
        return int(host["NanoCpus"]) / 1e9
    period, quota = int(host.get("CpuPeriod") or 100_000), int(host.get("CpuQuota") or 0)
    return quota / period if quota > 0 else 0.0


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
