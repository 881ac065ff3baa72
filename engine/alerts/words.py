"""What a notification says: a title, a text, and the same as data. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from automator67.engine.alerts.incidents import Incident
from automator67.engine.alerts.telling import Kind, Notification

MOST_LINES = 30


def title(cloud: str, kind: Kind, incidents: Sequence[Incident]) -> str:
    """Return one line, such as ``[home] node/hel1 unavailable``."""
    first = incidents[0]
    what = f"{first.resource} {first.state}" if kind != "resolved" else first.resource
    more = f" and {len(incidents) - 1} more" if len(incidents) > 1 else ""
    word = {"problem": "", "repeat": "still ", "resolved": "resolved: "}[kind]
    return f"[{cloud}] {word}{what}{more}"


def text(n: Notification) -> str:
    """Return the text, a line for each incident."""
    lines = [_line(i, n) for i in n.incidents[:MOST_LINES]]
    if len(n.incidents) > MOST_LINES:
        lines.append(f"and {len(n.incidents) - MOST_LINES} more")
    if n.explained:
        shown = ", ".join(f"{i.resource} ({i.state})" for i in n.explained[:MOST_LINES])
        lines.append(f"Because of that: {shown}")
    return "\n".join(lines)


def as_data(cloud: str, n: Notification) -> dict[str, Any]:
    """Return what a generic webhook is sent (docs/alerts.md)."""
    return {
        "version": 1,
        "id": n.id,
        "cloud": cloud,
        "kind": n.kind,
        "severity": n.severity,
        "title": title(cloud, n.kind, n.incidents),
        "text": text(n),
        "incidents": [incident_data(i) for i in n.incidents],
        "explained": [incident_data(i) for i in n.explained],
    }


def incident_data(i: Incident) -> dict[str, Any]:
    """Return an incident as plain data; times are seconds since the epoch, ``ended_at`` null while it lasts."""
    return {
        "id": i.id, "resource": i.resource, "concern": i.concern, "state": i.state, "reason": i.reason,
        "opened_at": i.opened_at, "ended_at": i.ended_at or None, "commit": i.commit,
    }  # fmt: skip


def _line(i: Incident, n: Notification) -> str:
    if n.template:
        return filled(n.template, {
            "resource": i.resource, "state": n.kind if n.kind == "resolved" else i.state, "reason": i.reason,
            "commit": i.commit[:12], "severity": n.severity, "since": _time(i.opened_at),
        })  # fmt: skip
    if n.kind == "resolved":
        return f"{i.resource} is well again since {_time(i.ended_at)}; it was {i.state} from {_time(i.opened_at)} on"
    because = f": {i.reason}" if i.reason else ""
    return f"{i.resource} is {i.state} since {_time(i.states[-1][1])}{because}"


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with the known names in braces replaced; everything else stays as it is."""
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
