"""Removes apps that the repository no longer has: pruned, dependants first, within the deletion budget. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automator67.engine.apps.revisions import from_spec
from automator67.engine.apps.steps import Rollout, later, leave, stays
from automator67.engine.copies import Copy
from automator67.engine.observed import Revision
from automator67.engine.plan.model import Action, Change


def removals(
    names: Sequence[str],
    copies: Mapping[str, Sequence[Copy]],
    deployed: Mapping[str, Revision],
    budget: int,
    now: float,
    *,
    confirmed: bool,
) -> tuple[list[Change], Rollout]:
    """Return the changes and what remains to be done to remove the apps ``names``, given dependants first.

    Only what carries this cloud's stamp is ever in ``copies``. More than ``budget`` removals wait for a person's
    confirmation of the commit. Volumes are not touched. An app stops when all that depended on it has gone.
    """
    changes: list[Change] = []
    out = Rollout()
    leaving = [n for n in names if any(not c.stopping for c in copies.get(n, ())) or n in deployed]
    over = len(leaving) > budget and not confirmed
    waiting = (
        f"waits for a person: this removes {len(leaving)} apps and limits.deletions is {budget}; "
        "confirm with `automator67 sync --confirm-deletions`, or raise the limit in automator67.yaml"
    )
    for name in names:
        mine = [c for c in copies.get(name, ()) if not c.stopping]
        dependants = [n for n in names if name in _needs(deployed.get(n)) and copies.get(n)]
        waits = waiting if over else f"waits for app/{dependants[0]} to stop" if dependants else ""
        pinned = " (its volumes stay)" if deployed.get(name) and deployed[name].spec.get("volumes") else ""
        reason = f"no file in the repository asks for it{pinned}"
        if name in leaving:
            changes.append(Change(f"app/{name}", "delete", (reason,), "restarts"))
        if waits:
            out.actions += stays(mine, waits)
        drain = from_spec(deployed[name].spec).drain if name in deployed else 0.0
        for c in mine:
            steps, wake = leave(c, reason, drain, now, risk="restarts")
            out.actions += [later(steps[-1], waits)] if waits else steps
            out.wake(0.0 if waits else wake)
        if name in deployed and not copies.get(name):
            forget = Action(f"forget:app/{name}", "forget", f"app/{name}", reason)
            out.actions.append(later(forget, waiting) if over else forget)
    return changes, out


def _needs(revision: Revision | None) -> Sequence[str]:
    return revision.spec.get("depends_on", ()) if revision else ()
