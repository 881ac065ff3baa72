"""How long to wait before something is tried again that failed. Pure: chance comes from outside."""

from __future__ import annotations

from random import Random

_FIRST_DELAY, _LONGEST_DELAY = 2.0, 900.0
_PERMANENT_DELAY = 3600.0


def delay(attempts: int, retry_after: float | None, permanent: bool, random: Random) -> float:
    """Return how many seconds to wait after the ``attempts``-th failure in a row (from 1).

    Exponential with full jitter (Brooker, "Exponential Backoff And Jitter"); what the other side asks for is kept to
    the second and spread a little; where a person must act, it is tried about once an hour.
    """
    if permanent:
        return _PERMANENT_DELAY * random.uniform(0.9, 1.1)
    jittered = random.uniform(0.0, min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(attempts - 1, 20)))
    if retry_after is not None:
        return retry_after + min(jittered, 5.0)
    return max(0.5, jittered)
