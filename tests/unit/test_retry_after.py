"""How long a server asks to be left alone."""

from __future__ import annotations

import pytest

from automator67.engine.retry_after import retry_after

NOW = 1_445_412_480.0
"""2015-10-21 07:28:00 UTC."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0), ("0", 0.0), ("1.5", 1.5), ("Wed, 21 Oct 2015 07:30:00 GMT", 120.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0), ("", None), ("soon", None), ("-5", None), ("nan", None), ("inf", None),
        ("١٢", None), ("1e9", None), ("99 Foo 2015", None), (".", None),
    ],
)  # fmt: skip
def test_numbers_and_dates(text: str, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds
