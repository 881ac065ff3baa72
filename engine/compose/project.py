"""What a Compose file says, with variables replaced and ``extends`` resolved. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from automator67.engine.compose.variables import VariableProblem, interpolated
from automator67.schemas.near import near
from automator67.schemas.problem import Problem
from automator67.schemas.source import Path, Position, positions, read_yaml

_MOST_EXTENDS = 20
_RESET = re.compile(rb"!(?:reset|override)\b")


@dataclass(frozen=True, slots=True)
class Note:
    """Something of a service that is not carried over, or that a person should look at. ``line`` is 0 if unknown."""

    service: str
    line: int
    text: str


@dataclass(slots=True)
class Project:
    """Services by name, in the order of the file; ``profiles`` are those that are asked for."""

    file: str
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    volumes: Mapping[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    places: Mapping[Path, Position] = field(default_factory=dict)

    def line(self, *path: str | int) -> int:
        """Return the line of a key, or of the nearest one around it."""
        for end in range(len(path), 0, -1):
            if tuple(path[:end]) in self.places:
                return self.places[tuple(path[:end])][0]
        return 0


def read_project(file: str, data: bytes, values: Mapping[str, str], profiles: Collection[str] = ()) -> Project:
    """Return the services that would run; ``values`` are those of variables. What is wrong is in ``problems``."""
    project = Project(file)
    source = read_yaml(file, _RESET.sub(b"", data))
    if source.value is None:
        project.problems = source.problems
        return project
    project.places = positions(file, _RESET.sub(b"", data))
    document = source.value
    services = document.get("services") if isinstance(document, dict) else None
    if not isinstance(services, dict) or not services:
        hint = "this is the old form without services:" if isinstance(document, dict) and document else ""
        _refuse(project, (), "there are no services in it", hint)
        return project
    named = document.get("volumes")
    project.volumes = named if isinstance(named, dict) else {}
    unset: set[str] = set()
    for name, service in services.items():
        if not isinstance(service, dict):
            _refuse(project, ("services", name), f"service {name} is no group of keys", "")
            continue
        found = _extended(project, services, str(name), _MOST_EXTENDS)
        wanted = _texts(found.get("profiles"))
        if wanted and not set(wanted) & set(profiles):
            text = f"it only runs with profile {' or '.join(wanted)}; --profile {wanted[0]} carries it over"
            project.notes.append(Note(str(name), project.line("services", name), text))
            continue
        project.services[str(name)] = _replaced(project, found, values, unset, ("services", name))
    for name in sorted(unset):
        text = f"the variable {name} has no value: it is empty; write it into .env, or give another --env-file"
        project.notes.append(Note("", 0, text))
    return project


def _extended(project: Project, services: Mapping[str, Any], name: str, left: int) -> dict[str, Any]:
    """Return a service with what it extends below it."""
    service = dict(services[name])
    extends = service.pop("extends", None)
    if extends is None:
        return service
    base = extends if isinstance(extends, str) else extends.get("service", "") if isinstance(extends, dict) else ""
    place = ("services", name, "extends")
    if isinstance(extends, dict) and extends.get("file") not in (None, project.file):
        text = f"it extends a service of {extends['file']}, which is not read: what that says is missing"
        project.notes.append(Note(name, project.line(*place), text))
        return service
    if not isinstance(services.get(base), dict) or left == 0:
        hint = near(str(base), services, "write the name of a service of this file")
        _refuse(project, place, f"service {name} extends {base}, which cannot be found", hint)
        return service
    return _merged(_extended(project, services, base, left - 1), service)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            found[key] = _merged(old, value)
        elif key in ("environment", "labels") and old is not None:
            found[key] = pairs(old) | pairs(value)
        elif isinstance(old, list) and isinstance(value, list) and key not in ("command", "entrypoint"):
            found[key] = old + [item for item in value if item not in old]
        else:
            found[key] = value
    return found


def pairs(value: Any) -> dict[str, str | None]:
    """Return what is written as a group of keys, or as a list of ``NAME=value``; a name alone has no value."""
    if isinstance(value, Mapping):
        return {str(k): None if v is None else scalar(v) for k, v in value.items()}
    found: dict[str, str | None] = {}
    for item in value if isinstance(value, list) else ():
        name, there, text = str(item).partition("=")
        found[name] = text if there else None
    return found


def scalar(value: Any) -> str:
    """Return a value as YAML would write it in a text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _replaced(project: Project, value: Any, values: Mapping[str, str], unset: set[str], path: Path) -> Any:
    if isinstance(value, str):
        try:
            return interpolated(value, values, unset)
        except VariableProblem as error:
            _refuse(project, path, str(error), "")
            return ""
    if isinstance(value, dict):
        return {k: _replaced(project, v, values, unset, (*path, k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_replaced(project, v, values, unset, (*path, n)) for n, v in enumerate(value)]
    return value


def _texts(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else []


def _refuse(project: Project, path: Path, message: str, hint: str) -> None:
    line = project.line(*path) or 1
    shown = ".".join(str(p) for p in path)
    project.problems.append(Problem("compose", project.file, line, 1, shown, message, hint))
