"""How long to wait after failures. Pure: ``chance`` is a random number in [0, 1)."""

from __future__ import annotations

import os

from automator67.agent.model import Retry

LONGEST_RECONNECT = 15.0


def reconnect_delay(failures: int, chance: float, longest: float = LONGEST_RECONNECT) -> float:
    """Return the seconds before attempt ``failures`` + 1 to reach the engine: 0.5, 1, 2, 4, 8, 15 with full jitter.

    Full jitter spreads the agents of a whole cloud when their engine comes back.
    """
    return min(longest, 0.5 * 2.0 ** min(failures - 1, 10)) * chance


def longest_reconnect(heartbeat: float) -> float:
    """Return the longest such delay for agents that report every so many seconds: a few attempts in two heartbeats."""
    return min(LONGEST_RECONNECT, max(0.5, heartbeat / 2))


def after_failure(before: Retry | None, detail: str, now: float, chance: float) -> Retry:
    """Return when to try an instance again: 1 s doubling to 60 s, up to a quarter more by chance."""
    failures = (before.failures if before else 0) + 1
    delay = min(60.0, 2.0 ** min(failures - 1, 10)) * (1 + chance / 4)
    return Retry(failures, now + delay, detail)


def request_delay(failures: int, shortest: float, longest: float, chance: float) -> float:
    """Return the seconds before asking the engine for something again: doubling, the upper half of it by chance."""
    return min(longest, shortest * 2.0 ** min(failures - 1, 10)) * (0.5 + chance / 2)


def chance() -> float:
    """Return a random number in [0, 1) without the memory that the random module takes."""
    return int.from_bytes(os.urandom(4), "big") / 2**32
