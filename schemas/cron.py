"""Cron expressions: five fields of minute, hour, day of month, month, day of week. Pure.

Fields are lists of ``*``, numbers, names (``jan``, ``mon``) and ranges, each with an optional step (POSIX crontab, and
the steps and names of Vixie cron).
"""

from __future__ import annotations

from typing import Final

_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS: Final[tuple[tuple[str, int, int, dict[str, int]], ...]] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: n for n, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 7, {name: n for n, name in enumerate(_DAYS)}),
)
_LONGEST: Final = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def cron_fault(text: str) -> str:
    """Return what is wrong with a cron expression of five fields, nothing when it is right; ``@daily`` is right."""
    if text.startswith("@"):
        return ""
    try:
        chosen = cron_sets(text)
    except ValueError as error:
        return str(error)
    if len(chosen) == len(_FIELDS) and text.split()[4] == "*" and not _ever(chosen[2], chosen[3]):
        return "there is no such day in these months: it would never run"
    return ""


def cron_sets(text: str) -> list[set[int]]:
    """Return the values that each field means; Sunday is both 0 and 7. Raises ValueError saying what is wrong."""
    chosen: list[set[int]] = []
    for part, (name, low, high, names) in zip(text.split(), _FIELDS, strict=False):
        values: set[int] = set()
        for item in part.lower().split(","):
            span = _span(item, low, high, names)
            if span is None:
                raise ValueError(f"{item or 'an empty item'} is not a {name} ({low} to {high})")
            values.update(span)
        chosen.append(values)
    return chosen


def _span(item: str, low: int, high: int, names: dict[str, int]) -> range | None:
    body, slash, step = item.partition("/")
    if slash and (not step.isdecimal() or not 1 <= int(step[:4]) <= high):
        return None
    if body == "*":
        return range(low, high + 1, int(step or 1))
    first, dash, last = body.partition("-")
    start = _number(first, names)
    end = _number(last, names) if dash else high if slash else start
    if start is None or end is None or not low <= start <= end <= high:
        return None
    return range(start, end + 1, int(step or 1))


def _number(word: str, names: dict[str, int]) -> int | None:
    if word in names:
        return names[word]
    return int(word) if word.isdecimal() and len(word) <= 2 else None


def _ever(days: set[int], months: set[int]) -> bool:
    return any(min(days) <= _LONGEST.get(month, 31) for month in months)


def moment_fault(text: str) -> str:
    """Return what is wrong with a time such as ``2026-01-31T22:00`` of the right shape, nothing when it is right."""
    year, month, day = (int(part) for part in text[:10].split("-"))
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest = 28 + leap if month == 2 else _LONGEST.get(month, 31)
    if not 1 <= month <= 12 or not 1 <= day <= longest:
        return f"there is no day {text[:10]}"
    if int(text[11:13]) > 23 or int(text[14:16]) > 59 or (text[16:17] == ":" and int(text[17:19]) > 59):
        return f"there is no time {text[11:19]}"
    return ""
