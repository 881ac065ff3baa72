"""What happens to an app with volumes whose node is lost, where it says ``failover: restore``. Pure.

Its volumes are restored on another node from their latest snapshots, and only then its copy starts there. That is done
for a node whose copy has certainly stopped: its lease is over (``Copy.fenced_at``). Until the copy starts, the lost
node may come back and goes on as if nothing had been. When it comes back later, its volumes are old: they are set
aside, under another name, and kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from automator67.engine.apps.steps import step
from automator67.engine.backups.schedule import TOOL
from automator67.engine.copies import Copy
from automator67.engine.desired import App
from automator67.engine.nodes.placement import place
from automator67.engine.plan.found import Pass
from automator67.engine.plan.model import Action, Blocked, Verb
from automator67.engine.volumes import Run, VolumeId

SETTLE_SECONDS = 10.0
"""How long a node has to report that a volume is not there any more."""


def move_lost(p: Pass, app: App, copies: list[Copy]) -> list[Copy]:
    """Add the steps for slots whose node is lost; return the copies that count for the rollout.

    A slot whose volumes were restored has a new home in ``p.moved``, and its lost copy counts no more.
    """
    if app.failover != "restore" or not app.pinned:
        return copies
    resource = f"app/{app.name}"
    for slot in range(app.replicas):
        home = p.observed.volumes.homes.get((app.name, slot), "")
        runs = _runs(p, app, slot)
        mine = [c for c in copies if c.slot == slot and home in ("", c.node)]
        away = next((c for c in mine if c.lost and not c.stopping), None)
        if away is None:
            if runs:
                p.actions.append(_action("recall", resource, slot, runs[0].node, f"node {home} is back in time"))
            p.actions += _stale(p, app, slot, home, copies)
            continue
        # The node may have come back in between, and got another lease.
        done = _restored(p, app, runs) if p.now >= away.fenced_at else ""
        if done:
            p.moved[app.name, slot] = done
        else:
            _restore(p, app, slot, away, runs)
    for c in copies:
        home = p.observed.volumes.homes.get((app.name, c.slot), c.node)
        if c.node != home and not c.stopping:
            p.actions.append(step("stop", c, f"its volumes are those of {home} now", risk="restarts"))
    return [c for c in copies if not _is_old(p, app, c)]


def numbered(p: Pass, actions: Sequence[Action], copies: Sequence[Copy]) -> list[Action]:
    """Return the steps of an app with starts on a new home counted on from the copy that was lost."""
    found = []
    for a in actions:
        if a.verb == "start" and (key := (a.resource.removeprefix("app/"), a.slot)) in p.moved:
            epoch = 1 + max((c.epoch for c in copies if c.slot == a.slot), default=0)
            reason = f"its volumes were restored on {p.moved[key]}; {a.reason}"
            a = replace(a, epoch=epoch, reason=reason, risk="restarts")
        found.append(a)
    return found


def home_of(p: Pass, app: App, slot: int) -> str | None:
    """Return the node that holds the volumes of a slot: as recorded, where it runs, or where they were found."""
    if not app.pinned:
        return None
    if moved := p.moved.get((app.name, slot)):
        return moved
    running = [c.node for c in p.copies.get(app.name, ()) if c.slot == slot]
    home = p.observed.volumes.homes.get((app.name, slot), "")
    view = p.observed.nodes.get(home)
    if home in p.desired.nodes and view is not None:
        gone = view.reported and (app.name, slot) not in view.volumes and home not in running
        if not gone:
            return home
    found = (n for n, v in sorted(p.observed.nodes.items()) if (app.name, slot) in v.volumes)
    return next(iter(running), None) or next(found, None)


def _is_old(p: Pass, app: App, c: Copy) -> bool:
    """Whether a copy is where the true volumes of its slot are not."""
    home = p.moved.get((app.name, c.slot)) or p.observed.volumes.homes.get((app.name, c.slot), c.node)
    return c.node != home


def _runs(p: Pass, app: App, slot: int) -> list[Run]:
    found = (r for r in p.observed.volumes.runs if r.kind == "failover")
    return [r for r in found if (r.volume.app, r.volume.slot) == (app.name, slot) and r.state in ("wanted", "done")]


def _restored(p: Pass, app: App, runs: Sequence[Run]) -> str:
    """Return the healthy node on which all volumes of the slot have been restored, or nothing."""
    for node in dict.fromkeys(r.node for r in runs):
        there = {r.volume.volume for r in runs if r.node == node and r.state == "done"}
        view = p.observed.nodes.get(node)
        if view is not None and view.state == "healthy" and there >= {v.name for v in app.volumes}:
            return node
    return ""


def _restore(p: Pass, app: App, slot: int, away: Copy, runs: Sequence[Run]) -> None:
    """Add the step that has the volumes restored elsewhere, or what it waits for."""
    resource, lost = f"app/{app.name}", f"node {away.node}, which holds its volume, is unavailable"
    if not _is_fenced(p, app, away):
        why = (
            f"{lost}, and its revision {away.rev} is from before failover: restore: nobody knows whether it has stopped"
        )
        p.blocked.append(Blocked(resource, why))
        return
    if p.now < away.fenced_at:
        p.blocked.append(Blocked(resource, f"{lost}; its volumes are restored elsewhere once its lease is over"))
        p.wake(0.0 if math.isinf(away.fenced_at) else away.fenced_at)
        return
    bare = [v.name for v in app.volumes if p.observed.volumes.latest(VolumeId(app.name, slot, v.name)) is None]
    backed = {b.volume for b in app.backups}
    bare += [v.name for v in app.volumes if v.name not in backed and v.name not in bare]
    if bare:
        p.blocked.append(Blocked(resource, f"{lost}; volume {bare[0]} has no snapshot to restore elsewhere"))
        return
    node = next((r.node for r in runs if _works(p, r.node)), "")
    if node:
        trouble = next((f": {r.message}" for r in runs if r.state == "wanted" and r.message), "")
        waits = f"waits for {node} to restore its volumes{_which(p, app, slot)}{trouble}"
        p.actions.append(_action("restore", resource, slot, node, lost, waits))
        return
    unfit = frozenset(n for n, v in p.observed.nodes.items() if TOOL not in v.tools) | {away.node}
    decision = place(app, slot, p.ledger, exclude=unfit)
    if decision.node is None:
        why = f"{lost}, and no other node with {TOOL} can take it: {decision.reason}"
        p.blocked.append(Blocked(resource, why))
        return
    p.ledger.take(app, slot, decision.node)
    p.actions.append(_action("restore", resource, slot, decision.node, f"{lost}; {decision.reason}"))


def _is_fenced(p: Pass, app: App, away: Copy) -> bool:
    """Whether a copy was under a lease from its beginning: its revision says so."""
    good = p.observed.last_good.get(app.name)
    if good is not None and good.rev == away.rev:
        return bool(good.spec.get("failover") == "restore")
    return away.rev == app.rev


def _stale(p: Pass, app: App, slot: int, home: str, copies: Sequence[Copy]) -> list[Action]:
    """Return the steps that set volumes aside which are older than those of the home."""
    found = []
    if home not in p.desired.nodes or home not in p.observed.nodes:
        return []
    for name, view in sorted(p.observed.nodes.items()):
        if name == home or (app.name, slot) not in view.volumes or not (view.reported and _works(p, name)):
            continue
        if any(c.node == name and c.slot == slot for c in copies):
            continue
        runs = [r for r in p.observed.volumes.runs if r.kind == "aside" and r.node == name]
        runs = [r for r in runs if (r.volume.app, r.volume.slot) == (app.name, slot)]
        reason = f"node {name} has an older state of its volumes: it is kept there, under another name"
        waits = "waits for the node to do it" if any(r.state == "wanted" for r in runs) else ""
        settled = max((r.ended_at for r in runs), default=0.0) + SETTLE_SECONDS
        if not waits and p.now < settled:
            p.wake(settled)
            continue
        found.append(_action("aside", f"app/{app.name}", slot, name, reason, waits))
    return found


def _works(p: Pass, node: str) -> bool:
    view = p.observed.nodes.get(node)
    return view is not None and view.state == "healthy"


def _which(p: Pass, app: App, slot: int) -> str:
    """Return in words which snapshots a failover takes."""
    latest = [p.observed.volumes.latest(VolumeId(app.name, slot, v.name)) for v in app.volumes]
    return f" from {', '.join(s.id[:8] for s in latest if s is not None)}"


def _action(verb: Verb, resource: str, slot: int, node: str, reason: str, waits: str = "") -> Action:
    return Action(f"{verb}:{resource}/{slot}@{node}", verb, resource, reason, slot=slot, node=node, waits=waits)
