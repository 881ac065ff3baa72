"""What has happened, as the pages show it: typed values. Times are seconds since the epoch; empty: unknown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log."""

    at: float
    kind: str
    resource: str
    message: str
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One action the engine took or is taking."""

    verb: str
    resource: str
    node: str
    reason: str
    risk: str
    state: str
    at: float
    done_at: float = 0.0
    error: str = ""
    commit: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Ran:
    """A run of a job or of a command. ``exit_code`` None: it did not come to one; ``ended_at`` 0: it goes on."""

    number: int
    kind: str
    state: str
    node: str = ""
    asked_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    exit_code: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """An incident: what is or was wrong with a resource, and who was told. ``ended_at`` 0: it lasts."""

    resource: str
    state: str
    reason: str
    opened_at: float
    ended_at: float = 0.0
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quiet:
    """A resource of which nobody is told until then."""

    resource: str
    until: float
    reason: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Somebody outside who fails and is not called before ``until``; ``name`` is ``node/NAME`` or ``forge``."""

    name: str
    until: float
    why: str
