"""What a provider gives for nothing: a shipped fact, what the repository says instead, and how old it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automator67.schemas.units import size_bytes

STALE_DAYS = 180
Facts = Mapping[str, Mapping[str, Any]]
"""By kind of node, as engine/facts/free-tiers.yaml has them."""
_QUOTA = ("services", "hours_per_month", "egress", "disk", "databases", "connections")
"""What ``quota`` of a node may say for its account."""
_DAYS_TO_1970 = 719_468


@dataclass(frozen=True, slots=True)
class Tier:
    """A free tier. Memory, disk and egress (a month) in bytes, CPU in cores; None: no limit is known.

    ``memory`` and ``cpu`` are what one copy gets, ``hours`` how long all copies may be awake in a month. ``sleeps``:
    what nobody asks for is stopped, and takes a while to come back. ``as_of`` is a day, YYYY-MM-DD.
    """

    kind: str
    memory: int | None = None
    cpu: float | None = None
    services: float | None = None
    hours: float | None = None
    egress: int | None = None
    disk: int | None = None
    databases: float | None = None
    connections: float | None = None
    sleeps: bool = False
    as_of: str = ""
    confidence: str = ""
    source: tuple[str, ...] = ()
    note: str = ""


def known(shipped: Facts, override: Facts) -> Facts:
    """Return the facts with what the repository's ``facts`` says instead."""
    return {kind: {**shipped.get(kind, {}), **override.get(kind, {})} for kind in {*shipped, *override}}


def tier_of(facts: Facts, kind: str, node: Mapping[str, Any]) -> Tier | None:
    """Return the tier of a node's account, None where the kind has none; its ``quota`` counts more than the facts."""
    if kind not in facts:
        return None
    f = {**facts[kind], **{k: v for k, v in node.get("quota", {}).items() if k in _QUOTA}}
    return Tier(
        kind,
        memory=None if "memory" not in f else size_bytes(f["memory"]),
        cpu=None if "cpu" not in f else float(f["cpu"]),
        services=None if "services" not in f else float(f["services"]),
        hours=None if "hours_per_month" not in f else float(f["hours_per_month"]),
        egress=None if "egress" not in f else size_bytes(f["egress"]),
        disk=None if "disk" not in f else size_bytes(f["disk"]),
        databases=None if "databases" not in f else float(f["databases"]),
        connections=None if "connections" not in f else float(f["connections"]),
        sleeps=bool(f.get("sleeps", False)),
        as_of=str(f.get("as_of", "")),
        confidence=str(f.get("confidence", "")),
        source=tuple(str(s) for s in f.get("source", ())),
        note=" ".join(str(f.get("note", "")).split()),
    )


def doubt(tier: Tier, now: float) -> str:
    """Return why a tier's facts are not to be relied on at ``now`` (seconds since the epoch), or nothing."""
    sources = f" ({', '.join(tier.source)})" if tier.source else ""
    renew = f"check it, then write facts: {{{tier.kind}: {{as_of: ...}}}} in automator67.yaml"
    try:
        age = int(now // 86400) - _day(tier.as_of)
    except ValueError:
        return f"when the free tier of {tier.kind} was last checked is not known{sources}; {renew}"
    if age > STALE_DAYS:
        return f"the free tier of {tier.kind} was last checked on {tier.as_of}, {age} days ago{sources}; {renew}"
    if tier.confidence == "low":
        return f"the free tier of {tier.kind} is uncertain: {tier.note or 'its sources contradict each other'}{sources}"
    return ""


def _day(text: str) -> int:
    """Return the days from 1970-01-01 to a day (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms")."""
    year, month, day = (int(part) for part in text.split("-"))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError(text)
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * ((month - 3) % 12) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - _DAYS_TO_1970
