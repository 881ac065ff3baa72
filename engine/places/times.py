"""Times as APIs write them (RFC 3339, with up to nanoseconds). Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_FRACTION = re.compile(r"\.(\d{1,6})\d*")


def epoch_seconds(text: object) -> float:
    """Return a time in seconds since the epoch; 0 for none, and for what is none."""
    if not isinstance(text, str) or not text or text.startswith("0001-"):
        return 0.0
    try:
        return datetime.fromisoformat(_FRACTION.sub(r".\1", text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def rfc3339(seconds: float) -> str:
    """Return seconds since the epoch as a time in UTC, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
