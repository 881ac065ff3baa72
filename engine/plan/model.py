"""What a plan is made of: changes a person reads, actions the engine takes, and why some must wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from automator67.engine.jobs import Run

Verb = Literal[
    "start", "drain", "resume", "stop", "adopt", "keep", "hold", "release", "forget", "look", "build",
    "admit", "promote", "restore", "recall", "aside", "run", "skip", "finish",
]  # fmt: skip
Risk = Literal["safe", "restarts", "destroys data"]
ChangeKind = Literal["create", "update", "delete", "move", "adopt", "repair", "scale", "none"]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One changed key of a resource.

    ``secret``: the value of the secret there is another one; of such a value nothing but ``changed`` is ever said.
    """

    path: str
    old: str
    new: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """One step towards the desired state.

    ``waits`` is empty when the step can be taken now; else it says in words what must be true first. ``after``
    names the actions of the same plan that come before it.
    """

    id: str
    verb: Verb
    resource: str
    reason: str
    risk: Risk = "safe"
    instance: str = ""
    node: str = ""
    slot: int = 0
    rev: str = ""
    epoch: int = 0
    after: tuple[str, ...] = ()
    waits: str = ""
    adopt: str | None = None
    run: Run | None = None
    """For steps of runs: the run as it is then."""

    @property
    def ready(self) -> bool:
        """Whether the step can be taken now."""
        return not self.waits


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one resource, and why."""

    resource: str
    kind: ChangeKind
    reasons: tuple[str, ...] = ()
    risk: Risk = "safe"
    fields: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Blocked:
    """Something the commit asks for that cannot be done now, and what would make it possible."""

    resource: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered steps from the observed to the desired state.

    ``wake_at`` is the earliest time (seconds since the epoch) at which the passing of time alone changes this
    plan: a gate that opens or a deadline that ends; 0 when there is none.
    """

    commit: str
    changes: tuple[Change, ...] = ()
    actions: tuple[Action, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    warnings: tuple[str, ...] = ()
    unchanged: int = 0
    complete: tuple[tuple[str, str], ...] = ()
    """(app, revision) pairs of which every replica is ready now, while no other revision runs."""
    wake_at: float = 0.0
    notes: dict[str, str] = field(default_factory=dict)
    """By resource: why nothing is done for it, where that needs saying (a hold, a report-only drift)."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.actions and not self.changes
