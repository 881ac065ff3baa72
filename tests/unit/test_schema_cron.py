"""Cron expressions: what is one, and what could never run."""

from __future__ import annotations

import pytest

from automator67.schemas.cron import cron_fault


@pytest.mark.parametrize(
    "text",
    ["0 3 * * *", "*/5 * * * *", "0 0 1 1 *", "0-30/10 8-18 * * mon-fri", "0 0 * jan,jul sun", "59 23 31 12 7",
     "@daily", "0 0 29 2 *", "0 0 30 2 mon", "0 0 31 4,5 *", "5/15 * * * *", "0 0 * * SUN"],
)  # fmt: skip
def test_expressions(text: str) -> None:
    assert cron_fault(text) == ""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("60 * * * *", "60 is not a minute (0 to 59)"), ("* 24 * * *", "24 is not a hour (0 to 23)"),
        ("* * 0 * *", "0 is not a day of the month (1 to 31)"), ("* * * 13 *", "13 is not a month (1 to 12)"),
        ("* * * * 8", "8 is not a day of the week (0 to 7)"),
        ("* * * * funday", "funday is not a day of the week (0 to 7)"),
        ("*/0 * * * *", "*/0 is not a minute (0 to 59)"), ("*/99 * * * *", "*/99 is not a minute (0 to 59)"),
        ("5-1 * * * *", "5-1 is not a minute (0 to 59)"), ("1, * * * *", "an empty item is not a minute (0 to 59)"),
        ("-1 * * * *", "-1 is not a minute (0 to 59)"), ("mon * * * *", "mon is not a minute (0 to 59)"),
        ("0 0 30 2 *", "there is no such day in these months: it would never run"),
        ("0 0 31 4,6 *", "there is no such day in these months: it would never run"),
        ("1-" + "9" * 99 + " * * * *", "1-" + "9" * 99 + " is not a minute (0 to 59)"),
        ("*/" + "9" * 5000 + " * * * *", "*/" + "9" * 5000 + " is not a minute (0 to 59)"),
    ],
)  # fmt: skip
def test_faults(text: str, fault: str) -> None:
    assert cron_fault(text) == fault
