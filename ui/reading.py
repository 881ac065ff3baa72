"""Turns the JSON kept in the store into typed values, taking nothing on trust and leaving out what is not shown.

Values of an app's environment are never among what is shown: a commit's plan tells only that they changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from automator67.ui.model import Amounts, Change, Field, Foreign, Instance, PlanView, Problem

_ENV = re.compile(r"^env\b\.?(\S*)")


def parsed(text: str) -> Any:
    """Return the JSON value of ``text``, None when it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def mapping(value: Any) -> Mapping[str, Any]:
    """Return ``value`` when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> Iterable[Mapping[str, Any]]:
    """Return the objects of a list, in order."""
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """Return ``value`` when it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> float:
    """Return ``value`` when it is a number, else 0."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def texts(value: Any) -> tuple[str, ...]:
    """Return the texts of a list, in order."""
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def instance(data: Mapping[str, Any], app: str = "", node: str = "") -> Instance:
    """Return an instance from an entry of ``app_states.instances`` or of a heartbeat."""
    health, phase = text(data.get("health")), text(data.get("phase"))
    healthy = data.get("healthy")
    return Instance(
        id=text(data.get("id")),
        app=app or text(data.get("app")),
        node=node or text(data.get("node")),
        slot=int(number(data.get("slot"))),
        rev=text(data.get("rev")),
        phase=phase,
        health=health,
        healthy=healthy if isinstance(healthy, bool) else number(data.get("healthy_since")) > 0,
        address=text(data.get("address")),
        detail=text(data.get("detail")),
        since=number(data.get("since")),
        restarts=int(number(data.get("restarts"))),
        cpu=number(data["cpu"]) if "cpu" in data else None,
        memory=number(data["memory"]) if "memory" in data else None,
        drift=texts(data.get("drift")),
    )


def amounts(value: Any) -> Amounts:
    """Return a node's ``capacity`` or ``usage``."""
    data = mapping(value)
    return Amounts(number(data.get("cpu")), number(data.get("memory")), number(data.get("disk")))


def foreign(value: Any) -> tuple[Foreign, ...]:
    """Return a node's containers that are not ours."""
    return tuple(
        Foreign(
            text(f.get("name")),
            text(f.get("image")),
            text(f.get("phase")),
            tuple(int(p) for p in f.get("ports", ()) if isinstance(p, int)),
        )
        for f in items(value)
    )


def problem(data: Mapping[str, Any]) -> Problem:
    """Return a problem of a commit; ``where`` is ``file:line:column`` as far as known."""
    file, path, message = (text(data.get(key)) for key in ("file", "path", "message"))
    place = [str(int(number(data[key]))) for key in ("line", "column") if number(data.get(key)) > 0]
    where = ":".join([file, *place]) if file else ""
    return Problem(where, f"{path}: {message}" if path else message, text(data.get("hint")))


def plan(document: Any) -> PlanView:
    """Return the plan of a commit, without the values of environment variables."""
    data = mapping(document)
    return PlanView(
        summary=text(data.get("summary")),
        changes=tuple(_change(c) for c in items(data.get("changes"))),
        blocked=tuple((text(b.get("resource")), text(b.get("reason"))) for b in items(data.get("blocked"))),
        warnings=texts(data.get("warnings")),
        notes=tuple(sorted((k, text(v)) for k, v in mapping(data.get("notes")).items())),
        unchanged=int(number(data.get("unchanged"))),
    )


def _change(data: Mapping[str, Any]) -> Change:
    fields = tuple(_field(f) for f in items(data.get("fields")))
    # A reason that only repeats a changed key is shown as that key, whose value can be left out.
    reasons = tuple(r for r in texts(data.get("reasons")) if " → " not in r or not (fields or _ENV.match(r)))
    return Change(text(data.get("resource")), text(data.get("kind")), text(data.get("risk")) or "safe", reasons, fields)


def _field(data: Mapping[str, Any]) -> Field:
    path = text(data.get("path"))
    hidden = _ENV.match(path) is not None
    return Field(path, None if hidden else text(data.get("old")), None if hidden else text(data.get("new")))
