"""Chooses the node for an instance: hard filters first, then a weighted score. Pure but for the ledger of a pass.

CPU is a weight and may be promised ``CPU_OVERCOMMIT`` times over, since it can be shared; memory cannot, so it is
promised once. Of the nodes that may take an instance, those that spread the app best are compared by score, and a
stable hash decides between equals: the same input gives the same choice.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from automator67.engine.capabilities import CAPABILITIES, unfit
from automator67.engine.desired import App, Node
from automator67.engine.nodes.eligibility import access_refused, closed, label_mismatch, labels_of
from automator67.engine.nodes.scoring import CPU_OVERCOMMIT, awake, ease, egress, hours_left, reliability, too_small
from automator67.engine.observed import NodeView
from automator67.schemas.units import human_bytes

SYSTEM_MEMORY = 250 * 2**20
"""Kept back on a node whose memory was measured rather than declared: the system, the runtime, the agent. Bytes."""
WEIGHTS = {
    "balance": 25.0, "prefer": 15.0, "reliability": 15.0, "pressure": 10.0, "quota": 10.0, "awake": 10.0, "image": 5.0,
    "egress": 5.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node cannot take an instance, as a person reads it."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Score:
    """How well a node suits: ``total`` is 0..1; each term is (name, value 0..1, weight)."""

    node: str
    total: float
    terms: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The chosen node, or None; ``reason`` says in one line why this node or why none."""

    node: str | None
    reason: str
    scores: tuple[Score, ...] = ()
    refusals: tuple[Refusal, ...] = ()


@dataclass(slots=True)
class _Room:
    """What is left on one node during a planning pass."""

    node: Node
    view: NodeView
    cpu: float
    memory: int
    closed: str
    """Why nothing can be placed here, whatever the app; empty when something can."""
    labels: Mapping[str, str]
    steady: float
    """The part of the score that no placement of this pass changes, weighted: reliability, pressure, sleep, egress."""
    promised_cpu: float = 0.0
    promised_memory: int = 0
    services: float | None = None
    """How many instances the node's quota allows; None: any number."""
    copies: int | None = None
    """How many copies of one app fit; None: any number."""
    held: int = 0
    apps: dict[str, int] = field(default_factory=dict)


class Ledger:
    """Counts what is promised to whom during one planning pass; made from data, and the only thing that changes."""

    def __init__(self, nodes: Mapping[str, Node], views: Mapping[str, NodeView]) -> None:
        self._rooms = {name: _room(nodes[name], views.get(name)) for name in sorted(nodes)}
        self._kinds = sorted({node.kind for node in nodes.values()} - {"agent"})
        self._where: dict[str, dict[str, int]] = {}
        self._candidates: dict[tuple[object, ...], list[tuple[_Room, str]]] = {}

    def take(self, app: App, slot: int, node: str) -> None:  # noqa: ARG002
        """Count an instance that runs, or will run, on a node. A node that is not declared is ignored."""
        self._count(app, node, 1)

    def release(self, app: App, slot: int, node: str) -> None:  # noqa: ARG002
        """Count an instance as gone from a node."""
        self._count(app, node, -1)

    def peers(self, app: str) -> tuple[str, ...]:
        """Return the nodes that hold instances of an app."""
        return tuple(sorted(node for node, count in self._where.get(app, {}).items() if count > 0))

    def _count(self, app: App, node: str, sign: int) -> None:
        room = self._rooms.get(node)
        if room is None:
            return
        room.promised_cpu += sign * app.cpu
        room.promised_memory += sign * app.memory
        room.held += sign
        room.apps[app.name] = room.apps.get(app.name, 0) + sign
        where = self._where.setdefault(app.name, {})
        where[node] = where.get(node, 0) + sign

    def candidates(self, app: App) -> list[tuple[_Room, str]]:
        """Return every node with the reason why the app's declaration excludes it; the same for equal demands."""
        key = (app.runtime, app.place.require, app.place.avoid, app.access, *(unfit(kind, app) for kind in self._kinds))
        found = self._candidates.get(key)
        if found is None:
            found = [(room, room.closed or _excluded(app, room)) for room in self._rooms.values()]
            self._candidates[key] = found
        return found


def place(
    app: App, slot: int, ledger: Ledger, *, prefer_node: str | None = None, exclude: frozenset[str] = frozenset()
) -> Decision:
    """Choose a node for a slot of the app; ``prefer_node`` wins whenever it can take the instance."""
    best: tuple[tuple[float, float, str], str] | None = None
    peers = ledger.peers(app.name)
    crowds = _crowds(app, ledger, peers)
    for room, why in ledger.candidates(app):
        name = room.node.name
        if why or name in exclude or _full(app, room):
            continue
        if name == prefer_node:
            return Decision(name, "stays where it belongs")
        rank = _rank(app, slot, room, crowds)
        if best is None or rank < best[0]:
            best = (rank, name)
    if best is not None:
        alone = "" if not peers or best[0][0] < 1 else ", beside another replica"
        return Decision(best[1], f"best of the nodes that can take it{alone}")
    return Decision(None, _why_nowhere(app, ledger, exclude))


def explain(app: App, slot: int, ledger: Ledger, *, home: str | None = None) -> Decision:
    """Choose like ``place``, and list every node's score, best first, or refusal; only ``home`` is free, if given."""
    others = frozenset(room.node.name for room, _ in ledger.candidates(app)) - {home} if home else frozenset()
    decision = place(app, slot, ledger, prefer_node=home, exclude=others)
    crowds = _crowds(app, ledger, ledger.peers(app.name))
    open_to = [(room, why) for room, why in ledger.candidates(app) if room.node.name not in others]
    able = [room for room, why in open_to if not why and not _full(app, room)]
    levels = sorted({_crowding(app, room, crowds) for room in able})
    ranked = sorted(able, key=lambda room: _rank(app, slot, room, crowds))
    scores = tuple(_score(app, room, levels, _crowding(app, room, crowds)) for room in ranked)
    away = tuple(Refusal(name, f"its volume is on {home}") for name in sorted(others))
    return Decision(decision.node, decision.reason, scores, _refusals(app, ledger, others) + away)


def _room(node: Node, view: NodeView | None) -> _Room:
    view = view or NodeView(node.name, "never")
    cpu = node.cpu if node.cpu is not None else view.cpu
    # A machine keeps some for itself; an account's memory is all for apps.
    kept = SYSTEM_MEMORY if node.tier is None else 0
    memory = node.memory if node.memory is not None else max(0, view.memory - kept)
    terms = {
        "reliability": reliability(view), "pressure": ease(view), "awake": awake(node), "egress": egress(node, view)
    }  # fmt: skip
    able = CAPABILITIES.get(node.kind)
    services = node.tier.services if node.tier is not None else dict(node.quota).get("services")
    return _Room(
        node, view, cpu, memory, closed(node, view), labels_of(node), sum(WEIGHTS[t] * v for t, v in terms.items()),
        services=services, copies=able.copies if able is not None else None,
    )  # fmt: skip


def _excluded(app: App, room: _Room) -> str:
    if app.runtime not in room.view.runtimes:
        return f"it does not offer the {app.runtime} runtime"
    fit = unfit(room.node.kind, app) or label_mismatch(app, room.node, room.labels)
    return fit or access_refused(app, room.view.policy)


def _full(app: App, room: _Room) -> str:
    free = room.memory - room.promised_memory
    if app.memory > free:
        left = f"{human_bytes(max(0, free))} of {human_bytes(room.memory)} is free"
        return f"needs {human_bytes(app.memory)} of memory, {left}"
    if room.promised_cpu + app.cpu > CPU_OVERCOMMIT * room.cpu + 1e-9:
        promised = f"{room.promised_cpu:g} of {CPU_OVERCOMMIT:g} × {room.cpu:g} is promised"
        return f"needs {app.cpu:g} cpu, {promised}"
    if room.copies is not None and room.apps.get(app.name, 0) >= room.copies:
        return f"it runs {'one copy' if room.copies == 1 else f'{room.copies} copies'} of an app at most"
    if why := too_small(app, room.node):
        return why
    if room.services is not None and room.held >= room.services:
        return f"its quota of {room.services:g} services is used up"
    return ""


def _crowds(app: App, ledger: Ledger, peers: Iterable[str]) -> Counter[str]:
    """Return how many replicas each region or provider holds (as ``place.spread`` asks); unnamed ones are one group."""
    key = app.place.spread
    if key not in ("region", "provider"):
        return Counter()
    found: Counter[str] = Counter()
    for room in (ledger._rooms[name] for name in peers):
        found[room.labels[key]] += room.apps[app.name]
    return found


def _crowding(app: App, room: _Room, crowds: Counter[str]) -> float:
    """Return 0 where the app is well spread: 1 more per replica on the node, up to 0.5 for those in its group."""
    if app.place.spread == "none":
        return 0.0
    here = room.apps.get(app.name, 0)
    there = crowds[room.labels[app.place.spread]] if crowds else 0
    return here + 0.5 * there / (1 + there)


def _rank(app: App, slot: int, room: _Room, crowds: Counter[str]) -> tuple[float, float, str]:
    """Return what orders the nodes, best first; rounded, so that the order of earlier sums cannot decide."""
    return _crowding(app, room, crowds), -round(_total(app, room), 9), _tie(app.name, slot, room.node.name)


def _total(app: App, room: _Room) -> float:
    total = room.steady + WEIGHTS["balance"] * _balance(app, room) + WEIGHTS["quota"] * _quota_left(room)
    if app.place.prefer:
        total += WEIGHTS["prefer"] * _preferred(app, room)
    if app.image is not None and app.image in room.view.images:
        total += WEIGHTS["image"]
    return total


def _score(app: App, room: _Room, levels: Sequence[float], crowding: float) -> Score:
    """Return the score as a weighted mean in which spread outweighs all else, as it does in the choice."""
    values = {
        "balance": _balance(app, room),
        "prefer": _preferred(app, room),
        "reliability": reliability(room.view),
        "pressure": ease(room.view),
        "awake": awake(room.node),
        "egress": egress(room.node, room.view),
        "quota": _quota_left(room),
        "image": 1.0 if app.image in room.view.images else 0.0,
    }
    whole, steps = sum(WEIGHTS.values()), len(levels) - 1
    spread = (steps - levels.index(crowding)) / steps if steps else 1.0
    terms = (("spread", spread, whole * steps), *((t, v, WEIGHTS[t]) for t, v in values.items()))
    return Score(room.node.name, sum(v * w for _, v, w in terms) / (whole * (1 + steps)), terms)


def _balance(app: App, room: _Room) -> float:
    memory = (room.promised_memory + app.memory) / room.memory if room.memory else 1.0
    cpu = (room.promised_cpu + app.cpu) / (CPU_OVERCOMMIT * room.cpu) if room.cpu else 1.0
    return max(0.0, 1.0 - max(memory, cpu))


def _quota_left(room: _Room) -> float:
    services = 1.0 if room.services is None else max(0.0, 1.0 - (room.held + 1) / max(room.services, 1.0))
    return min(services, hours_left(room.node, room.view, room.held))


def _preferred(app: App, room: _Room) -> float:
    wanted = app.place.prefer
    return sum(1 for key, value in wanted if room.labels.get(key) == value) / len(wanted) if wanted else 0.0


def _tie(app: str, slot: int, node: str) -> str:
    return hashlib.blake2b(f"{app}/{slot}/{node}".encode(), digest_size=8).hexdigest()


def _refusals(app: App, ledger: Ledger, exclude: frozenset[str] = frozenset()) -> tuple[Refusal, ...]:
    reasons = ((room, why or _full(app, room)) for room, why in ledger.candidates(app))
    return tuple(Refusal(room.node.name, why) for room, why in reasons if why and room.node.name not in exclude)


def _why_nowhere(app: App, ledger: Ledger, exclude: frozenset[str]) -> str:
    refusals = _refusals(app, ledger, exclude)
    if not refusals:
        return "no other node can take it" if ledger.candidates(app) else "no node is declared in nodes/"
    shown = "; ".join(f"{r.node}: {r.reason}" for r in refusals[:3])
    return shown if len(refusals) <= 3 else f"{shown}; and {len(refusals) - 3} more"
