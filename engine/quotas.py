"""How much of what an account gives for nothing is used, and how much will be at the end of the period. Pure.

Hours and bytes sent are counted over a calendar month (UTC), or over the provider's own period where it tells one.
Services, databases, connections and storage are what is there now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from automator67.engine.tiers import Tier
from automator67.schemas.units import human_bytes

Resource = Literal["hours", "egress", "storage", "services", "databases", "connections"]
OVER_TIME: frozenset[Resource] = frozenset({"hours", "egress"})
WHOLE: frozenset[Resource] = frozenset({"services", "databases", "connections"})
"""Not used up slowly: one of one service is as it should be."""
BYTES: frozenset[Resource] = frozenset({"egress", "storage"})
NEAR = 0.8
"""From this share of a limit on it is warned of."""
ENOUGH_SECONDS = 6 * 3600.0
"""So long must something have been counted before its end is foretold from it."""


@dataclass(frozen=True, slots=True)
class Period:
    """What is counted over: from when to when, and since when we do (seconds since the epoch)."""

    begins: float
    ends: float
    since: float


@dataclass(frozen=True, slots=True)
class Quota:
    """One resource of one account. Hours, bytes or a number; ``projected``: at ``ends`` of the period (0: now)."""

    node: str
    resource: Resource
    used: float
    limit: float
    projected: float
    ends: float = 0.0

    @property
    def state(self) -> Literal["ok", "near", "over"]:
        """Over: nothing of it is left; near: little is left, or it will not last until the end of the period."""
        if self.resource in WHOLE:
            return "over" if self.used > self.limit else "ok"
        if self.used >= self.limit:
            return "over"
        return "near" if self.used >= NEAR * self.limit or self.projected > self.limit else "ok"

    @property
    def text(self) -> str:
        """How it stands, in words."""
        used, limit = (_amount(self.resource, n) for n in (self.used, self.limit))
        said = f"{used} of {limit} {_WORDS[self.resource]}"
        if self.ends and self.state != "over":
            said += f", {_amount(self.resource, self.projected)} at the end of the period"
        return said

    @property
    def warning(self) -> str:
        """What is wrong, in words that stay the same while numbers move."""
        limit = f"{_amount(self.resource, self.limit)} {_WORDS[self.resource]}"
        if self.state == "over":
            return f"its quota of {limit} is used up"
        if self.used >= NEAR * self.limit:
            return f"more than {NEAR:.0%} of its {limit} is used"
        return f"its quota of {limit} will not last until the end of the period"


_WORDS: Mapping[Resource, str] = {
    "hours": "hours awake", "egress": "sent", "storage": "stored", "services": "services", "databases": "databases",
    "connections": "connections",
}  # fmt: skip


def limits(tier: Tier) -> dict[Resource, float]:
    """Return what an account gives, where a limit is known."""
    known: dict[Resource, float | None] = {
        "hours": tier.hours, "egress": tier.egress, "storage": tier.disk, "services": tier.services,
        "databases": tier.databases, "connections": tier.connections,
    }  # fmt: skip
    return {resource: float(limit) for resource, limit in known.items() if limit is not None}


def projected(used: float, period: Period, now: float, rate: float | None = None) -> float:
    """Return how much will be used at the end of the period.

    ``rate``: how much a second is being used now, where that is known; else the mean since counting began, if that is
    long enough ago to mean something.
    """
    if rate is None:
        counted = now - max(period.begins, period.since)
        rate = used / counted if counted >= ENOUGH_SECONDS else 0.0
    return used + rate * max(0.0, period.ends - now)


def quotas(
    node: str, tier: Tier, used: Mapping[Resource, float], period: Period, now: float, awake: int
) -> Iterable[Quota]:
    """Yield how an account stands, for what is limited and known. ``awake``: how many copies run there now."""
    for resource, limit in limits(tier).items():
        if resource not in used:
            continue
        amount = used[resource]
        if resource not in OVER_TIME:
            yield Quota(node, resource, amount, limit, amount)
            continue
        rate = awake / 3600 if resource == "hours" else None
        yield Quota(node, resource, amount, limit, projected(amount, period, now, rate), period.ends)


def used_up(found: Iterable[Quota]) -> str:
    """Return why nothing new should go to an account whose quotas these are, or nothing."""
    return next((q.warning for q in found if q.resource in OVER_TIME and q.state == "over"), "")


def _amount(resource: Resource, number: float) -> str:
    return human_bytes(int(number)) if resource in BYTES else f"{number:.0f}"
