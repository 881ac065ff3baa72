"""Which of the things seen on this node is which instance of the desired state. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from automator67.agent.model import Adopted, Desired, Observed, Seen, Wanted


class Match(NamedTuple):
    """``pairs``: each wanted instance with what was seen of it, if anything. ``extra``: what should not be here."""

    pairs: tuple[tuple[Wanted, Seen | None], ...]
    extra: tuple[Seen, ...]


def match(desired: Desired, observed: Observed) -> Match:
    """Pair the desired state with what was seen.

    Of several containers of one instance (a copy made by hand) one is taken and the others are extra. A container
    without our stamp counts only where an instance adopts it by name, or while it waits to be removed because an
    instance that adopted it is no longer desired.
    """
    stamped: dict[str, list[Seen]] = {}
    for s in observed.seen:
        if s.instance:
            stamped.setdefault(s.instance, []).append(s)
    unstamped = {s.name: s for s in observed.seen if not s.instance}
    pairs: list[tuple[Wanted, Seen | None]] = []
    taken: set[str] = set()
    for w in desired.instances:
        seen = _best(w, stamped.get(w.id, ()))
        if seen is None and w.adopt:
            seen = unstamped.get(w.adopt)
        pairs.append((w, seen))
        if seen is not None:
            taken.add(seen.handle)
    wanted_names = {w.adopt for w in desired.instances if w.adopt}
    extra: list[Seen] = []
    for s in observed.seen:
        adopted = observed.adopted.get(s.name)
        if s.handle in taken:
            continue
        if s.instance:
            extra.append(s)
        elif adopted is not None and adopted.handle == s.handle and s.name not in wanted_names:
            _, instance, app, slot, rev, epoch = adopted
            extra.append(s._replace(instance=instance, app=app, slot=slot, rev=rev, epoch=epoch))
    return Match(tuple(pairs), tuple(extra))


def adopted_now(found: Match) -> dict[str, Adopted]:
    """Return the containers (by name) that stand in for an instance under ``adopt``."""
    return {
        s.name: Adopted(s.handle, w.id, w.app, w.slot, w.rev, w.epoch)
        for w, s in found.pairs
        if s is not None and not s.instance and w.adopt == s.name
    }


def _best(w: Wanted, candidates: Iterable[Seen]) -> Seen | None:
    order = {"running": 0, "paused": 1, "restarting": 2, "exited": 3, "created": 4}
    usable = [s for s in candidates if w.keep or s.runtime == w.runtime]
    return min(usable, key=lambda s: (-s.epoch, order.get(s.state, 9), s.started, s.handle), default=None)
