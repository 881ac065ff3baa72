"""How fast the copies of lost nodes start elsewhere: a few at a time, so that those that are left stand it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automator67.engine.apps.steps import later
from automator67.engine.copies import Copy
from automator67.engine.plan.model import Action

LEAST, PER_NODE = 4, 2
PATIENCE = 60.0
"""A copy that is not healthy after this many seconds no longer holds up the others."""


def paced(
    actions: Sequence[Action], copies: Mapping[str, Sequence[Copy]], nodes: int, now: float
) -> tuple[list[Action], float]:
    """Return the actions, of which those that are too many wait, and when to look again (0: time changes nothing).

    ``nodes``: how many can take copies. The order of the actions, the most important apps first, decides who waits.
    """
    lost = {(c.app, c.slot) for mine in copies.values() for c in mine if c.lost}
    if not lost:
        return list(actions), 0.0
    coming = [
        c for mine in copies.values() for c in mine
        if (c.app, c.slot) in lost and not (c.lost or c.stopping or c.healthy) and now - c.since < PATIENCE
    ]  # fmt: skip
    room = max(LEAST, PER_NODE * nodes) - len(coming)
    out, wake = [], 0.0
    for a in actions:
        if a.verb == "start" and a.ready and (a.resource.removeprefix("app/"), a.slot) in lost:
            room -= 1
            if room < 0:
                out.append(later(a, "waits for other copies of lost nodes to be healthy"))
                wake = min((c.since + PATIENCE for c in coming), default=0.0)
                continue
        out.append(a)
    return out, wake
