"""Named points at which a test may end the process, to show that a restart goes on from any of them.

``A67_CRASH_AT=after-intents`` kills the process with SIGKILL when it comes to that point; unset, the points do
nothing.
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "after-fetch", "before-intents", "inside-intents", "after-intents", "before-tell", "after-tell", "before-report",
)  # fmt: skip
ALERT_POINTS = ("inside-alerts", "alert-sent")


def point(name: str) -> None:
    """Die here when the environment says so."""
    if os.environ.get("A67_CRASH_AT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
