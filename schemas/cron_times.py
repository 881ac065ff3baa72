"""When a cron expression is next due, in a time zone. Pure but for the machine's time zone data.

As in Vixie cron, a day counts when either of day of month and day of week fits, if both are restricted. A local time
that a change of clocks leaves out counts as the same time later by what the clock jumps; one that comes twice counts
once, the first time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from automator67.schemas.cron import cron_sets

_WORDS: Final = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
_LONGEST_DAYS: Final = 8 * 366 + 1
"""Between two 29ths of February lie eight years at most (around 2100)."""


class _Fields(NamedTuple):
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    """Whether one of day of month and day of week is enough."""

    def fits(self, day: date) -> bool:
        """Whether the expression is due on a day."""
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and ((by_month or by_week) if self.either else (by_month and by_week))


def first_after(text: str, zone: str, after: float) -> float | None:
    """Return the first time (seconds since the epoch) later than ``after`` that a valid expression means.

    None when there is none within eight years. Raises zoneinfo.ZoneInfoNotFoundError.
    """
    fields, place = _fields(text), ZoneInfo(zone)
    # A day earlier, since a change of clocks can move a time over midnight.
    day = datetime.fromtimestamp(after, place).date() - timedelta(days=1)
    for _ in range(_LONGEST_DAYS):
        if fields.fits(day):
            found = [at for hour in fields.hours for minute in fields.minutes
                     if (at := _epoch(day, hour, minute, place)) > after]  # fmt: skip
            if found:
                return min(found)
        day += timedelta(days=1)
    return None


def moment(text: str, zone: str) -> float:
    """Return the time that a text such as ``2026-01-31T22:00`` means in a zone, seconds since the epoch.

    Raises ValueError, zoneinfo.ZoneInfoNotFoundError.
    """
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))).timestamp()


def shown(at: float, zone: str) -> str:
    """Return a time as people of a zone write it, with the zone: ``2026-01-31 22:00 Europe/Berlin``."""
    return f"{datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone}"


def _epoch(day: date, hour: int, minute: int, place: ZoneInfo) -> float:
    return datetime.combine(day, time(hour, minute), place).timestamp()


@lru_cache(maxsize=512)
def _fields(text: str) -> _Fields:
    text = _WORDS.get(text, text)
    minutes, hours, days, months, weekdays = cron_sets(text)
    _, _, by_month, _, by_week = text.split()
    return _Fields(
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        frozenset(days),
        frozenset(months),
        frozenset(d % 7 for d in weekdays),
        not by_month.startswith("*") and not by_week.startswith("*"),
    )
