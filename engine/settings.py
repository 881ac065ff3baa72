"""What ``automator67.yaml`` says of the whole cloud. Plain data; times are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``automator67.yaml`` says of the whole cloud."""

    name: str = "home"
    statuses_per_app: bool = False
    max_deletions: int = 3
    heartbeat: float = 30.0
    suspect_after: float = 45.0
    failing_after: float = 75.0
    unavailable_after: float = 105.0
    recover_after: float = 30.0
    lease: float = 150.0
    """How long an agent that hears nothing of the engine may keep what must not run twice, from sending a heartbeat."""
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)
