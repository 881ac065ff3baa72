"""The rolling update of one app, as a pure function of its copies.

There is no stored state machine: the copies that exist say how far the rollout is. One call returns every
remaining step; those that cannot be taken yet say what they wait for. So a restart goes on where it was, and a
new revision simply takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from automator67.engine.apps.in_place import swap
from automator67.engine.apps.steps import later, on_node, risk_of, start, step, why_start
from automator67.engine.copies import Copy
from automator67.engine.desired import App
from automator67.engine.plan.model import Action
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
        """Ask to be called again at a time."""
        self.wake_at = min(self.wake_at or at, at)


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
    if app.pinned:
        held = dict[int, Copy]()
        _restart_in_place(app, copies, good, bad, place, gate, out)
    else:
        bad, held = swap(app, copies, good, bad, gate, in_place, misplaced, out.actions)
        squeezed = _starts(app, copies, good | held, bad, place, gate, out)
        _stops(app, good, bad, ready, squeezed, out)
    out.complete = len(ready) == app.replicas and not bad and not held
    return out


def keeps(copies: Sequence[Copy]) -> list[Action]:
    """Return the steps that take found copies into the books, so that nothing stops them unasked."""
    return [step("keep", c, "found running with this cloud's stamp") for c in copies if not c.assigned]


def _sort(
    app: App, copies: Sequence[Copy], misplaced: Callable[[str], str], differs: Callable[[str], str]
) -> tuple[dict[int, Copy], list[tuple[Copy, str]]]:
    good: dict[int, Copy] = {}
    bad: list[tuple[Copy, str]] = []
    for c in sorted(copies, key=lambda c: (c.slot, not c.healthy, -c.epoch, c.node)):
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
            deadline = max(c.since, told_since) + app.update.deadline
            if now >= deadline:
                what = c.detail or (f"its health is {c.health}" if c.health != "none" else f"it is {c.phase}")
                out.failed = f"{c.instance} was not healthy within {human_seconds(app.update.deadline)}: {what}"
                return
            out.wake(deadline)


def _starts(
    app: App,
    copies: Sequence[Copy],
    good: dict[int, Copy],
    bad: list[tuple[Copy, str]],
    place: Placer,
    gate: str,
    out: Rollout,
) -> bool:
    """Add the starts of missing slots; return True when there is no room beside the copies that still run."""
    # Copies that do not serve are stopped at once (see _stops), so they take no room from new ones.
    old = [c for c, _ in bad if not c.lost and (c.healthy or not c.known)]
    room = app.replicas + app.update.max_extra - len(good) - len(old)
    squeezed = False
    previous: tuple[str, ...] = ()
    for slot in range(app.replicas):
        if slot in good:
            continue
        reason, risk = why_start(app, slot, copies, bad), risk_of(old)
        action = start(app, slot, copies, reason, risk, previous)
        previous = (action.id,)
        if gate:
            out.actions.append(later(action, gate))
        elif old and room <= 0:
            squeezed = squeezed or (app.update.max_extra == 0)
            out.actions.append(later(action, "waits for an older copy to stop"))
        else:
            where = place(slot, None)
            if where.node is not None:
                room -= 1
                out.actions.append(on_node(action, where.node, where.reason))
            elif old:
                squeezed = True
                out.actions.append(later(action, f"waits for an older copy to stop: {where.reason}"))
            else:
                out.blocked.append(f"no node can take {action.instance}: {where.reason}")
    return squeezed


def _stops(
    app: App,
    good: dict[int, Copy],
    bad: list[tuple[Copy, str]],
    ready: set[int],
    squeezed: bool,
    out: Rollout,
) -> None:
    serving = len(ready) + sum(1 for c, _ in bad if c.healthy)
    floor = app.replicas - 1 if squeezed else app.replicas
    starts = () if squeezed else tuple(a.id for a in out.actions if a.verb == "start")
    for c, why in sorted(bad, key=lambda b: (not b[0].lost, b[0].healthy, b[0].slot, b[0].instance)):
        if not (c.known or c.lost):
            out.actions.append(later(step("stop", c, why), f"waits for node {c.node} to report"))
        elif not c.healthy:
            out.actions.append(step("stop", c, why))
        elif len(ready) == app.replicas or serving - 1 >= floor:
            serving -= 1
            out.actions.append(step("stop", c, why, risk="restarts" if squeezed else "safe", after=starts))
        else:
            waiting = next((g.instance for s, g in sorted(good.items()) if s not in ready), "")
            what = waiting or f"a copy of revision {app.rev}"
            text = f"waits for {what} to be healthy"
            if app.update.healthy_for:
                text += f" for {human_seconds(app.update.healthy_for)}"
            out.actions.append(later(step("stop", c, why, after=starts), text))


def _restart_in_place(
    app: App,
    copies: Sequence[Copy],
    good: dict[int, Copy],
    bad: list[tuple[Copy, str]],
    place: Placer,
    gate: str,
    out: Rollout,
) -> None:
    """An app with volumes never runs twice: the old copy of a slot stops before the new one starts, on its node."""
    for slot in range(app.replicas):
        if slot in good:
            continue
        olds = [(c, why) for c, why in bad if c.slot == slot]
        away = next((c for c in copies if c.slot == slot and c.lost), None)
        if away is not None:
            out.blocked.append(f"{app.name} waits for node {away.node}, which holds its volume and is unavailable")
            continue
        reason = why_start(app, slot, copies, bad)
        action = start(app, slot, copies, reason, risk_of([c for c, _ in olds]), ())
        if gate:
            out.actions.append(later(action, gate))
            continue
        home = next((c.node for c in copies if c.slot == slot), None)
        where = place(slot, home)
        if where.node is None:
            out.blocked.append(f"{action.instance} must stay with its volume on {home}: {where.reason}"
                               if home else f"no node can take {action.instance}: {where.reason}")  # fmt: skip
            continue
        stops = [step("stop", c, why, risk="restarts") for c, why in olds]
        out.actions += [*stops, on_node(action, where.node, where.reason, tuple(s.id for s in stops))]
    out.actions += [step("stop", c, why) for c, why in bad if c.slot >= app.replicas or c.slot in good]
