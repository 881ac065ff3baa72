"""The engine's clock: seconds since the epoch that never jump while the process runs.

It takes the wall clock once and counts on with the monotonic one, so that somebody who sets the machine's clock
neither ends a deadline nor holds a gate open.
"""

from __future__ import annotations

import time

_OFFSET = time.time() - time.monotonic()


def steady_now() -> float:
    """Return the present in seconds since the epoch, steady for the life of the process."""
    return _OFFSET + time.monotonic()
