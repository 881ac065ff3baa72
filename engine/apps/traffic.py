"""Which copies of an app take requests now, and in what proportion. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from automator67.engine.copies import Copy
from automator67.engine.desired import App
from automator67.engine.observed import Canary

MOST_WEIGHT = 100
"""As much weight as all copies of an app have together, unless there are more copies than that."""


@dataclass(frozen=True, slots=True)
class Share:
    """A copy that takes requests now, and its share of them: one of weight 2 gets twice what one of weight 1 gets."""

    instance: str
    node: str
    weight: int = 1


def traffic(app: App, copies: Sequence[Copy], canary: Canary | None = None) -> tuple[Share, ...]:
    """Return the copies of an app that take requests now.

    Rolling: every healthy copy that is not about to stop. Blue-green: only old copies while there are any, since all of
    them begin to leave at the moment of the switch. Canary: ``update.share`` per cent go to the new copies from when
    they have passed their gate (``canary.admitted_at``) until they are promoted.

    Never empty while anything healthy runs: where nothing else does, copies that are about to stop are better than
    none. A node that has not reported yet to an engine that just started is believed: its copies served before.
    """
    up = [c for c in copies if not c.run and (c.healthy or (c.assigned and not c.known and not c.lost))]
    staying = [c for c in up if not (c.draining or c.stopping)]
    if not staying:
        return _equal([c for c in up if not c.stopping] or up)
    new = [c for c in staying if c.rev == app.rev]
    old = [c for c in staying if c.rev != app.rev]
    if not (new and old) or app.update.strategy == "rolling" or app.alone:
        return _equal(staying)
    if app.update.strategy == "blue-green":
        return _equal(old)
    if canary is None or canary.rev != app.rev or not canary.admitted_at:
        return _equal(old)
    if canary.promoted_at:
        return _equal(staying)
    heavy, light = weights(len(new), len(old), app.update.share)
    return tuple(Share(c.instance, c.node, heavy if c.rev == app.rev else light) for c in staying)


def weights(new: int, old: int, share: int) -> tuple[int, int]:
    """Return the weights of one new and one old copy so that ``share`` per cent go to the new ones together.

    They are the smallest whole numbers that come closest while all copies weigh at most ``MOST_WEIGHT`` together.
    """
    found, off = (1, 1), abs(new / (new + old) - share / 100)
    for light in range(1, MOST_WEIGHT // old + 1):
        exact, most = share * light * old // ((100 - share) * new), (MOST_WEIGHT - light * old) // new
        for heavy in {max(1, min(exact, most)), max(1, min(exact + 1, most))}:
            total = heavy * new + light * old
            if total <= MOST_WEIGHT and (now := abs(heavy * new / total - share / 100)) < off - 1e-9:
                found, off = (heavy, light), now
    return found


def _equal(copies: Sequence[Copy]) -> tuple[Share, ...]:
    return tuple(Share(c.instance, c.node) for c in copies)
