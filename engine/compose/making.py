"""An app in the making: what of a service was taken up, what was said about the rest. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from automator67.engine.compose.project import Note, Project

_ODD = re.compile(r"[^a-z0-9]+")
NAME_LENGTH = 40


@dataclass(slots=True)
class Secret:
    """A value that is to be sealed as ``name``; ``line``: where it is written."""

    name: str
    value: str = field(repr=False)
    line: int = 0


@dataclass(slots=True)
class Making:
    """``left``: keys of the service that nobody took up yet."""

    project: Project
    service: str
    name: str
    left: dict[str, Any]
    document: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)

    def take(self, key: str) -> Any:
        """Return what is written for a key, and take it up."""
        return self.left.pop(key, None)

    def line(self, *path: str | int) -> int:
        """Return the line of a key of the service."""
        return self.project.line("services", self.service, *path)

    def say(self, text: str, *path: str | int) -> None:
        """Note something about a key of the service."""
        self.notes.append(Note(self.service, self.line(*path), text))


def name_of(text: str) -> str:
    """Return a text as the name of a resource: lower-case letters, digits, inner hyphens, at most 40."""
    return _ODD.sub("-", text.lower()).strip("-")[:NAME_LENGTH].rstrip("-") or "app"


def items(value: Any) -> list[Any]:
    """Return a list, of one where it is written as a single thing."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a group of keys, an empty one for anything else."""
    return value if isinstance(value, dict) else {}
