"""Reads how long a server asks to be left alone (RFC 9110, 10.2.3). Pure."""

from __future__ import annotations

from email.utils import parsedate_to_datetime


def retry_after(text: str, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for: a number of them, or a date; None for neither.

    ``now`` is in seconds since the epoch.
    """
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError):
        return None
