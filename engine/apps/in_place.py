"""Replaces the copies of an app at once on places that do the replacing themselves, such as a swarm. Pure.

Such a place is told only which revision it should run and how many copies; it starts the new ones before it stops
the old ones, and goes back by itself when they fail. So the engine records the new revision for every slot that runs
there, and takes the old one out of the books, in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from automator67.engine.apps.steps import later, on_node, start, step
from automator67.engine.copies import Copy
from automator67.engine.desired import App
from automator67.engine.plan.model import Action


def swap(
    app: App,
    copies: Sequence[Copy],
    good: Mapping[int, Copy],
    bad: Sequence[tuple[Copy, str]],
    gate: str,
    in_place: Callable[[str], bool],
    misplaced: Callable[[str], str],
    actions: list[Action],
) -> tuple[list[tuple[Copy, str]], dict[int, Copy]]:
    """Add the steps that replace copies where they are.

    Returns the old copies that are left to others, and by slot those of which the step waits for the gate or has
    just been added: no copy is started elsewhere for them.
    """
    left: list[tuple[Copy, str]] = []
    held: dict[int, Copy] = {}
    for c, why in bad:
        here = good.get(c.slot)
        stays = c.rev != app.rev and c.slot < app.replicas and c.assigned and not c.lost and in_place(c.node)
        if stays and here is not None and here.node == c.node:
            actions.append(step("stop", c, why))
        elif stays and here is None and c.slot not in held and not misplaced(c.node):
            held[c.slot] = c
            new = on_node(start(app, c.slot, copies, why, "restarts", ()), c.node, "replaced where it runs")
            old = step("stop", c, why, after=(new.id,))
            actions += [later(new, gate), later(old, gate)] if gate else [new, old]
        else:
            left.append((c, why))
    return left, held
