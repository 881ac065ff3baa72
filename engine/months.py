"""Calendar months in UTC: what free tiers and uptime are counted by."""

from __future__ import annotations

from datetime import UTC, datetime


def month_of(at: float) -> tuple[str, float, float]:
    """Return the month of a time (seconds since the epoch) as ``YYYY-MM``, and when it begins and ends."""
    first = datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return f"{first:%Y-%m}", first.timestamp(), following.timestamp()
