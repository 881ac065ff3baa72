"""What a person says of a canary: that it is good enough for all requests, or that it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from automator67.engine.desired import Desired
from automator67.engine.observed import Canary, Hold, Revision
from automator67.engine.store import intents
from automator67.engine.store.facts import add_events
from automator67.engine.store.intents import Intents
from automator67.schemas.near import near_hint

ABORTED = "a person gave it up with `automator67 promote --abort`"


class PromotionError(Exception):
    """There is nothing to promote or to give up; one line that says why."""


def say(
    tx: Connection, desired: Desired | None, i: Intents, app: str, now: float, *, abort: bool, dry_run: bool
) -> Mapping[str, Any]:
    """Record that a canary takes over, or (``abort``) is given up; ``dry_run``: only find out whether it could be.

    Returns its revision (``rev``), and whether the same was said ``before``. Raises PromotionError.
    """
    if desired is None:
        raise PromotionError("the repository was not read yet; try again in a moment")
    if abort:
        hold = aborted(desired, i.last_good, i.holds, app, now)
        rev, before = desired.apps[app].rev, hold is None
        if hold is not None and not dry_run:
            intents.hold(tx, hold)
            add_events(tx, [(now, "hold", f"app/{app}", f"revision {rev}: {ABORTED}", desired.commit)])
        return {"rev": rev, "before": before}
    canary = promotable(desired, i.canaries, app)
    if not (canary.promoted_at or dry_run):
        intents.promote(tx, app, canary.rev, now)
        text = f"revision {canary.rev}: a person promoted it"
        add_events(tx, [(now, "promote", f"app/{app}", text, desired.commit)])
    return {"rev": canary.rev, "before": canary.promoted_at > 0}


def promotable(desired: Desired, canaries: Mapping[str, Canary], app: str) -> Canary:
    """Return the canary of an app that waits for a promotion, or was promoted already. Raises PromotionError."""
    wanted = _wanted(desired, app)
    canary = canaries.get(app)
    if desired.apps[app].update.strategy != "canary":
        raise PromotionError(f"app/{app} is updated {desired.apps[app].update.strategy}: it has no canary to promote")
    if canary is None or canary.rev != wanted:
        raise PromotionError(f"revision {wanted} of app/{app} has no share of the requests yet; see automator67 status")
    return canary


def aborted(
    desired: Desired, good: Mapping[str, Revision], holds: Mapping[str, Hold], app: str, now: float
) -> Hold | None:
    """Return the hold that gives up the revision an app is on its way to; None when it is held already.

    Raises PromotionError when there is nothing to go back to.
    """
    wanted = _wanted(desired, app)
    blob = desired.apps[app].origin.blob
    if (hold := holds.get(app)) is not None and (hold.rev, hold.blob) == (wanted, blob):
        return None
    last = good.get(app)
    if last is None:
        raise PromotionError(f"app/{app} has no earlier healthy revision to go back to")
    if last.rev == wanted:
        raise PromotionError(f"revision {wanted} of app/{app} has taken over already; see automator67 rollback")
    return Hold(app, wanted, blob, desired.commit, ABORTED, now)


def _wanted(desired: Desired, app: str) -> str:
    if app not in desired.apps:
        raise PromotionError(f"there is no app {app}{near_hint(app, desired.apps)}")
    return desired.apps[app].rev
