"""Maintenance windows of nodes as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A window in which a node may be away: it begins by a cron expression or once, and lasts ``length`` seconds.

    ``drain``: what runs on the node moves elsewhere while the window is open.
    """

    schedule: str = ""
    begins: str = ""
    length: float = 0.0
    timezone: str = "UTC"
    drain: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """A maintenance window that is open until a time (seconds since the epoch); ``text`` says so to a person."""

    until: float
    drain: bool
    text: str
