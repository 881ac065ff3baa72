"""One thing a rule across files has found, before its position is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from automator67.schemas.source import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong at ``path`` of a document, and what to write instead."""

    code: str
    path: Path
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
