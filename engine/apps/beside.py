"""Tries a new revision beside the one that runs: blue-green until it is switched to, canary until it is promoted. Pure.

While it is tried the old revision is kept up as if nothing else were wanted. How far a blue-green update is, its copies
say: when all are ready, it goes on like a rolling one that finds every new copy there, so that all old ones leave the
traffic at once. That a canary has passed its gate, and that it was promoted, is remembered (``Canary``), since time
and a person decide it.
"""

from __future__ import annotations

from collections.abc import Sequence

from automator67.engine.apps.steps import Rollout, later, start, step
from automator67.engine.copies import Copy
from automator67.engine.desired import App
from automator67.engine.observed import Canary
from automator67.engine.plan.model import Action, Verb
from automator67.schemas.units import human_seconds


def tried_copies(app: App) -> int:
    """Return how many copies of a new revision are started beside the old ones: for a canary its share, rounded up."""
    if app.update.strategy == "canary":
        return max(1, -(-app.replicas * app.update.share // 100))
    return app.replicas


def is_beside(app: App, copies: Sequence[Copy], canary: Canary | None, now: float) -> bool:
    """Whether a revision that was never proven has to be tried beside what runs, now."""
    if app.update.strategy == "rolling" or app.alone or not any(c.rev != app.rev and not c.stopping for c in copies):
        return False
    if app.update.strategy == "canary":
        return canary is None or canary.rev != app.rev or not canary.promoted_at
    ready = {c.slot for c in copies if _counts(app, c) and not c.stopping and c.ready(app.update.healthy_for, now)}
    return len(ready) < app.replicas


def beside(
    app: App, copies: Sequence[Copy], stable: Rollout, ahead: Rollout, canary: Canary | None, now: float
) -> Rollout:
    """Return what remains to be done while ``app``'s revision is tried.

    ``stable`` keeps the old revision up, ``ahead`` brings up ``tried_copies`` of the new one. Where ``ahead`` has
    failed, or a canary that had passed its gate is not healthy any more, so has the result.
    """
    if canary is not None and canary.rev != app.rev:
        canary = None
    out = Rollout(failed=(_fallen(copies, app, canary) if canary else "") or ahead.failed)
    if out.failed:
        return out
    ids = tuple(a.id for a in ahead.actions if a.verb == "start")
    out.actions = [*stable.actions, *ahead.actions]
    out.blocked = [*stable.blocked, *ahead.blocked]
    out.ready = min(ahead.ready, app.replicas - 1)
    out.wake(stable.wake_at)
    out.wake(ahead.wake_at)
    count = tried_copies(app)
    passed = ahead.ready >= count
    healthy = f"healthy for {human_seconds(app.update.healthy_for)}" if app.update.healthy_for else "healthy"
    copies_of = f"{count} {'copy' if count == 1 else 'copies'} of revision {app.rev}"
    if app.update.strategy == "blue-green":
        waits = f"waits for {copies_of} to be {healthy}"
    elif canary is None:
        why = f"{copies_of} {'is' if count == 1 else 'are'} {healthy}: {app.update.share} % of the requests go there"
        admit = _note("admit", app, why, ids)
        waits = f"waits for {copies_of} to be {healthy}"
        out.actions.append(admit if passed else later(admit, waits))
    else:
        promote, waits = _promotion(app, canary, passed, now, out)
        out.actions.append(promote)
    out.actions += _rest(app, copies, count, waits or "waits for the canary to be promoted")
    return out


def _promotion(app: App, canary: Canary, passed: bool, now: float, out: Rollout) -> tuple[Action, str]:
    after = app.update.promote_after
    if after is None:
        waits = f"waits for `automator67 promote {app.name}`; {app.update.share} % of the requests go to {app.rev}"
        return later(_note("promote", app, "a person says so"), waits), waits
    reason = f"healthy with {app.update.share} % of the requests for {human_seconds(after)}"
    promote = _note("promote", app, reason)
    if now >= canary.admitted_at + after and passed:
        return promote, ""
    out.wake(canary.admitted_at + after if now < canary.admitted_at + after else 0.0)
    waits = f"waits {human_seconds(after)} with {app.update.share} % of the requests"
    waits += f", or for `automator67 promote {app.name}`"
    return later(promote, waits), waits


def _fallen(copies: Sequence[Copy], app: App, canary: Canary) -> str:
    for c in sorted(copies, key=lambda c: c.slot):
        seen = c.known and c.present and not (c.lost or c.stopping or c.draining)
        if c.rev == app.rev and c.since <= canary.admitted_at and seen and not c.healthy:
            what = c.detail or (f"its health is {c.health}" if c.health != "none" else f"it is {c.phase}")
            return f"{c.instance} did not stay healthy with {app.update.share} % of the requests: {what}"
    return ""


def _rest(app: App, copies: Sequence[Copy], count: int, waits: str) -> list[Action]:
    """Return the steps that follow when the new revision is taken on."""
    starts = [start(app, slot, copies, "the rest follows", "safe", ()) for slot in range(count, app.replicas)]
    old = [c for c in copies if c.rev != app.rev and not c.stopping and c.healthy]
    stops = [step("stop", c, f"revision {c.rev} is replaced by {app.rev}") for c in old]
    return [later(a, waits) for a in [*starts, *stops]]


def _counts(app: App, c: Copy) -> bool:
    return c.rev == app.rev and c.slot < app.replicas


def _note(verb: Verb, app: App, reason: str, after: tuple[str, ...] = ()) -> Action:
    return Action(f"{verb}:app/{app.name}@{app.rev}", verb, f"app/{app.name}", reason, rev=app.rev, after=after)
