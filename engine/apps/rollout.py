"""The rolling update of one app, as a pure function of its copies.

There is no stored state machine: the copies that exist say how far the rollout is. One call returns every
remaining step; those that cannot be taken yet say what they wait for. So a restart goes on where it was, and a
new revision simply takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from automator67.engine.apps.in_place import swap
from automator67.engine.apps.pinned import restart_in_place
from automator67.engine.apps.rolling import starts, stops
from automator67.engine.apps.steps import Placer, Rollout, keeps, step
from automator67.engine.copies import Copy
from automator67.engine.desired import App
from automator67.schemas.units import human_seconds


def roll(
    app: App,
    copies: Sequence[Copy],
    *,
    now: float,
    place: Placer,
    misplaced: Callable[[str], str],
    proven: bool = False,
    gate: str = "",
    differs: Callable[[str], str] = lambda _: "",
    told_since: float = 0.0,
    in_place: Callable[[str], bool] = lambda _: False,
) -> Rollout:
    """Return the steps that bring ``copies`` to ``app.replicas`` ready copies of ``app.rev``.

    ``misplaced(node)`` says why the app may not stay on a node, or nothing. ``proven`` means that this revision
    was healthy before: its replicas are repaired for ever rather than given up at the deadline. ``gate`` holds
    back the starts of an unproven revision, in words. ``differs(rev)`` says in words how an older revision differs
    from the wanted one, where that is known. ``told_since``: no deadline runs before this time, nor for a copy that
    its node has not reported yet: it may not know of it. ``in_place(node)``: the node replaces copies by itself.
    """
    out = Rollout()
    good, bad = _sort(app, copies, misplaced, differs)
    gate = "" if proven else gate
    healthy_for = 0.0 if proven else app.update.healthy_for
    ready = {slot for slot, c in good.items() if c.ready(healthy_for, now)}
    out.ready = len(ready)
    out.actions += keeps(copies)
    _gates(app, good, ready, healthy_for, now, proven, told_since, in_place, out)
    if out.failed:
        return out
    out.actions += [step("resume", c, "it is wanted again") for _, c in sorted(good.items()) if c.draining]
    held: dict[int, Copy] = {}
    if app.alone:
        restart_in_place(app, copies, good, bad, ready, now=now, told_since=told_since, place=place, gate=gate, out=out)
    else:
        bad, held = swap(app, copies, good, bad, gate, in_place, misplaced, out.actions)
        squeezed = starts(app, copies, good | held, bad, place, gate, out)
        stops(app, good, bad, ready, squeezed, now, out)
    out.complete = len(ready) == app.replicas and not bad and not held
    return out


def _sort(
    app: App, copies: Sequence[Copy], misplaced: Callable[[str], str], differs: Callable[[str], str]
) -> tuple[dict[int, Copy], list[tuple[Copy, str]]]:
    good: dict[int, Copy] = {}
    bad: list[tuple[Copy, str]] = []
    for c in sorted(copies, key=lambda c: (c.slot, not c.healthy, c.draining, -c.epoch, c.node)):
        if c.stopping:
            continue
        if c.rev != app.rev:
            bad.append((c, differs(c.rev) or f"revision {c.rev} is replaced by {app.rev}"))
        elif c.slot >= app.replicas:
            bad.append((c, f"replicas are {app.replicas} now"))
        elif c.slot in good:
            bad.append((c, f"slot {c.slot} runs on {good[c.slot].node}"))
        elif c.lost and app.pinned:
            good[c.slot] = c
        elif c.lost:
            bad.append((c, f"node {c.node} is unavailable"))
        elif why := misplaced(c.node):
            bad.append((c, why))
        else:
            good[c.slot] = c
    return good, bad


def _gates(
    app: App,
    good: dict[int, Copy],
    ready: set[int],
    healthy_for: float,
    now: float,
    proven: bool,
    told_since: float,
    in_place: Callable[[str], bool],
    out: Rollout,
) -> None:
    for slot, c in sorted(good.items()):
        if c.lost and app.failover == "restore":
            # What becomes of it is decided and said in engine/plan/failover.py.
            continue
        if c.lost:
            out.blocked.append(f"{c.instance} waits for node {c.node}, which holds its volume and is unavailable")
        elif slot not in ready and not proven:
            if c.healthy:
                out.wake(c.healthy_since + healthy_for)
            if not (c.known and c.present):
                continue
            if c.phase == "failed" and in_place(c.node):
                out.failed = f"{c.instance} was given up by node {c.node}: {c.detail}"
                return
            deadline = max(c.since, c.appeared_at, told_since) + app.update.deadline
            if now >= deadline:
                what = c.detail or (f"its health is {c.health}" if c.health != "none" else f"it is {c.phase}")
                out.failed = f"{c.instance} was not healthy within {human_seconds(app.update.deadline)}: {what}"
                return
            out.wake(deadline)
