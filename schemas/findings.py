"""One thing a rule across files has found, before its position is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from automator67.schemas.problem import Problem
from automator67.schemas.source import Path, Position, dotted


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong at ``path`` of a document, and what to write instead."""

    code: str
    path: Path
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def problem(self, file: str, where: Mapping[Path, Position]) -> Problem:
        """Return the finding as a problem of a file, given the positions of what is in it."""
        at = position(where, self.path)
        return Problem(self.code, file, *at, dotted(self.path), self.message, self.hint, self.severity)


def position(where: Mapping[Path, Position], path: Path) -> Position:
    """Return the position of a path, or of the nearest thing around it."""
    while path and path not in where:
        path = path[:-1]
    return where.get(path, (1, 1))
