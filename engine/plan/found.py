"""What one planning pass has found so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from automator67.engine.apps.revisions import from_spec
from automator67.engine.copies import Copy
from automator67.engine.desired import App, Desired
from automator67.engine.nodes.placement import Ledger
from automator67.engine.observed import Observed
from automator67.engine.plan.model import Action, Blocked, Change


@dataclass(slots=True)
class Pass:
    """The arguments of a plan, and what has been added to it."""

    desired: Desired
    observed: Observed
    now: float
    ledger: Ledger
    copies: Mapping[str, list[Copy]]
    changes: list[Change] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    healthy: set[str] = field(default_factory=set)
    complete: list[tuple[str, str]] = field(default_factory=list)
    unchanged: int = 0
    wake_at: float = 0.0
    moved: dict[tuple[str, int], str] = field(default_factory=dict)
    """By (app, slot): the node that has its volumes from now on, since they were restored there."""

    def wake(self, at: float) -> None:
        """Ask for another pass at a time (0: time changes nothing)."""
        if at:
            self.wake_at = min(self.wake_at or at, at)

    def replicas(self, app: str) -> list[Copy]:
        """Return the copies of an app that are to stay."""
        return [c for c in self.copies.get(app, ()) if not c.run]

    def runs(self, app: str) -> list[Copy]:
        """Return the instances of an app that end by themselves."""
        return [c for c in self.copies.get(app, ()) if c.run]

    def gate(self, app: App) -> str:
        """Return what the first copies of a revision wait for besides their image, in words."""
        if not self.observed.settled:
            return "waits a moment for nodes to report what already runs"
        waiting = [f"app/{d}" for d in app.depends_on if d not in self.healthy]
        return f"waits for {', '.join(waiting)} to be healthy" if waiting else ""

    def deployed_app(self, name: str) -> App | None:
        """Return an app as it was last asked for, if it was."""
        revision = self.observed.deployed.get(name)
        return from_spec(revision.spec) if revision else None
