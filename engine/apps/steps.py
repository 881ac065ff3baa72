"""What a rollout is made of: the steps, as actions of a plan, and what remains when they are put together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from automator67.engine.copies import Copy, instance_id
from automator67.engine.desired import App
from automator67.engine.plan.model import Action, Risk, Verb
from automator67.schemas.units import human_seconds


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an instance can go (``node`` is None: nowhere), and why, in one line."""

    node: str | None
    reason: str


class Placer(Protocol):
    """Chooses a node for a slot of the app and books the room there; ``only`` restricts it to one node."""

    def __call__(self, slot: int, only: str | None) -> Placed:
        """Return where the slot goes."""


@dataclass(slots=True)
class Rollout:
    """What remains to be done for one app.

    ``failed`` tells why the revision must be given up, ``blocked`` what stands in the way, ``wake_at`` when time
    alone changes the answer (0: never). ``complete``: every replica is ready and nothing old runs.
    """

    actions: list[Action] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    failed: str = ""
    wake_at: float = 0.0
    complete: bool = False
    ready: int = 0

    def wake(self, at: float) -> None:
        """Ask to be called again at a time (0: never)."""
        if at:
            self.wake_at = min(self.wake_at or at, at)


@dataclass(frozen=True, slots=True)
class Prior:
    """What must happen before copies start: the step that is left, what they wait for, why they never will start."""

    action: Action | None = None
    gate: str = ""
    failed: str = ""


def keeps(copies: Sequence[Copy]) -> list[Action]:
    """Return the steps that take found copies into the books, so that nothing stops them unasked."""
    return [step("keep", c, "found running with this cloud's stamp") for c in copies if not c.assigned]


def stays(copies: Sequence[Copy], why: str) -> list[Action]:
    """Return the steps that leave everything as it is; what was about to stop takes requests again."""
    return keeps(copies) + [step("resume", c, why) for c in copies if c.draining]


def why_start(app: App, slot: int, copies: Sequence[Copy], bad: list[tuple[Copy, str]]) -> str:
    """Return why a slot needs a copy, in words."""
    for c, why in bad:
        if c.slot == slot:
            return why
    if not copies:
        return "new app"
    return f"slot {slot} of {app.replicas} is empty"


def risk_of(old: Sequence[Copy]) -> Risk:
    """Return the risk of a start beside old copies."""
    return "restarts" if old else "safe"


def start(app: App, slot: int, copies: Sequence[Copy], reason: str, risk: Risk, after: tuple[str, ...]) -> Action:
    """Return the step that starts a copy for a slot, on a node that is yet to be chosen."""
    epoch = 1 + max((c.epoch for c in copies if c.slot == slot), default=0)
    instance = instance_id(app.name, slot, app.rev)
    return Action(
        f"start:{instance}#{epoch}", "start", f"app/{app.name}", reason, risk,
        instance=instance, slot=slot, rev=app.rev, epoch=epoch, after=after,
    )  # fmt: skip


def step(verb: Verb, c: Copy, reason: str, *, risk: Risk = "safe", after: tuple[str, ...] = ()) -> Action:
    """Return a step that is taken with a copy that exists."""
    return Action(
        f"{verb}:{c.instance}@{c.node}#{c.epoch}", verb, f"app/{c.app}", reason, risk,
        instance=c.instance, node=c.node, slot=c.slot, rev=c.rev, epoch=c.epoch, after=after, adopt=c.adopt,
    )  # fmt: skip


def later(action: Action, waits: str) -> Action:
    """Return a step that has to wait, and for what."""
    return replace(action, waits=waits)


def on_node(action: Action, node: str, why: str, after: tuple[str, ...] = ()) -> Action:
    """Return a start with its node."""
    reason = f"{action.reason}; {why}" if why else action.reason
    return replace(action, reason=reason, node=node, after=action.after + after)


def leave(
    c: Copy, reason: str, drain: float, now: float, *, risk: Risk = "safe", after: tuple[str, ...] = ()
) -> tuple[list[Action], float]:
    """Return the steps that take a copy away, the stop last, and when to look again (0: time changes nothing).

    A copy that serves is first taken out of traffic, and stops ``drain`` seconds later.
    """
    stop = step("stop", c, reason, risk=risk, after=after)
    if not c.healthy or drain <= 0:
        return [stop], 0.0
    waits = f"waits {human_seconds(drain)} for requests under way to end"
    if not c.draining:
        out = step("drain", c, reason, after=after)
        return [out, later(replace(stop, after=(*after, out.id)), waits)], 0.0
    if now >= c.draining_since + drain:
        return [stop], 0.0
    return [later(stop, waits)], c.draining_since + drain
