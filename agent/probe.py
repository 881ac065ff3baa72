"""When an instance is healthy: probe results in, health out. Pure; times are monotonic seconds."""

from __future__ import annotations

from typing import Literal, NamedTuple

from automator67.agent.model import Probe

Health = Literal["starting", "healthy", "unhealthy"]

# Until it is healthy for the first time an instance is asked often, so that a push shows quickly: most are up within
# milliseconds, some within seconds ...
FIRST, FIRST_FOR = 0.05, 0.5
QUICK, QUICK_FOR = 0.25, 60.0
# ... and one that never comes up must not cost its node anything.


WINDOW = 10
TOO_MANY = 5
"""An instance that fails so often within the window is unhealthy, though it never fails several times in a row."""


class Standing(NamedTuple):
    """What the probes of one start of an instance have shown so far."""

    began: float
    health: Health = "starting"
    healthy_since: float = 0.0
    passes: int = 0
    failures: int = 0
    last_counted: float = 0.0
    detail: str = ""
    recent: int = 0
    """The last ``WINDOW`` results that count, as bits: 1 failed."""


def first_standing(now: float) -> Standing:
    """Return the standing of an instance that has just started."""
    return Standing(began=now, last_counted=now)


def after_result(s: Standing, probe: Probe, passed: bool, detail: str, now: float) -> Standing:
    """Return the standing after one probe.

    ``detail`` says why it failed. Failures count only outside the start period and at most once per interval,
    however often it was asked: the quick probes at the start must not condemn an instance early.
    """
    if passed:
        passes, recent = s.passes + 1, _shifted(s.recent, 0)
        if s.health == "healthy":
            return s._replace(passes=passes, failures=0, last_counted=now, detail="", recent=recent)
        if passes >= probe.healthy_after and recent.bit_count() < TOO_MANY - 1:
            return Standing(s.began, "healthy", now, passes, 0, now, "", recent)
        return s._replace(passes=passes, failures=0, last_counted=now, recent=recent)
    s = s._replace(passes=0, detail=detail)
    if now - s.began < probe.start_period and s.health == "starting":
        return s._replace(last_counted=now)
    # A tenth of slack: a probe that comes a little early is still the next one.
    if now - s.last_counted < probe.interval * 0.9:
        return s
    recent = _shifted(s.recent, 1) if s.health != "starting" else 0
    s = s._replace(failures=s.failures + 1, last_counted=now, recent=recent)
    if s.failures >= probe.unhealthy_after:
        # It was really away: the window begins anew.
        return s._replace(health="unhealthy", healthy_since=0.0, recent=0)
    if s.health == "healthy" and recent.bit_count() >= TOO_MANY:
        return s._replace(health="unhealthy", healthy_since=0.0)
    return s


def _shifted(recent: int, failed: int) -> int:
    return (recent << 1 | failed) & ((1 << WINDOW) - 1)


def next_probe(s: Standing, probe: Probe, last_started: float) -> float:
    """Return when to probe next; ``last_started`` is when the last probe began."""
    age = last_started - s.began
    if s.health != "starting" or age >= QUICK_FOR:
        return last_started + probe.interval
    return last_started + min(probe.interval, FIRST if age < FIRST_FOR else QUICK)
