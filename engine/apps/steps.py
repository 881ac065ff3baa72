"""The steps that a rollout is made of, as actions of a plan. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from automator67.engine.copies import Copy, instance_id
from automator67.engine.desired import App
from automator67.engine.plan.model import Action, Risk


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


def step(verb: str, c: Copy, reason: str, *, risk: Risk = "safe", after: tuple[str, ...] = ()) -> Action:
    """Return a step that is taken with a copy that exists."""
    return Action(
        f"{verb}:{c.instance}@{c.node}#{c.epoch}", verb, f"app/{c.app}", reason, risk,  # type: ignore[arg-type]
        instance=c.instance, node=c.node, slot=c.slot, rev=c.rev, epoch=c.epoch, after=after, adopt=c.adopt,
    )  # fmt: skip


def later(action: Action, waits: str) -> Action:
    """Return a step that has to wait, and for what."""
    return Action(
        action.id, action.verb, action.resource, action.reason, action.risk, action.instance, action.node,
        action.slot, action.rev, action.epoch, action.after, waits,
    )  # fmt: skip


def on_node(action: Action, node: str, why: str, after: tuple[str, ...] = ()) -> Action:
    """Return a start with its node."""
    return Action(
        action.id, action.verb, action.resource, f"{action.reason}; {why}" if why else action.reason, action.risk,
        action.instance, node, action.slot, action.rev, action.epoch, action.after + after,
    )  # fmt: skip
