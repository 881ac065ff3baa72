"""Leases: what must not run twice runs here only while the engine surely counts on it. Pure.

A lease comes with the answer to a heartbeat and counts from when that was sent, on CLOCK_BOOTTIME: nobody can set that
clock, and it goes on while the machine sleeps. The engine counts from when it answered, so it always waits longer.
"""

from __future__ import annotations

from typing import NamedTuple

from automator67.agent.model import Desired, Seen, Wanted

_SLACK = 1.0
_MOST_LEAD = 0.25


class Lease(NamedTuple):
    """From the sending of a heartbeat until its end (seconds of CLOCK_BOOTTIME), and which desired state it is for.

    What runs may go on under any lease; only what belongs to the desired state that the engine had when it gave the
    lease may start: an older one may name what runs elsewhere by now.
    """

    sent: float = 0.0
    until: float = 0.0
    rev: str = ""


def ends(w: Wanted, lease: Lease) -> float:
    """Return when an instance is asked to stop, so that it has stopped by itself before the lease is over."""
    return lease.until - min(w.stop_timeout + _SLACK, (lease.until - lease.sent) * _MOST_LEAD)


def present(desired: Desired, lease: Lease, now: float) -> Desired:
    """Return the desired state without what may not run now."""
    return desired._replace(instances=tuple(w for w in desired.instances if not w.fence or now < ends(w, lease)))


def withheld(desired: Desired, lease: Lease) -> frozenset[str]:
    """Return the instances that may not be started under this lease."""
    if lease.rev == desired.rev:
        return frozenset()
    return frozenset(w.id for w in desired.instances if w.fence)


def due(desired: Desired, lease: Lease, now: float) -> float:
    """Return in how many seconds an instance has to stop if no other lease comes, infinity for none."""
    return min((ends(w, lease) - now for w in desired.instances if w.fence and now < ends(w, lease)), default=_NEVER)


def guarded(desired: Desired | None, seen: tuple[Seen, ...], known: frozenset[str]) -> frozenset[str]:
    """Return the instances that must end with the lease: those that may come to run, and of ``known`` those here."""
    wanted = {w.id for w in desired.instances if w.fence} if desired is not None else set()
    here = {s.instance for s in seen if s.state != "exited"}
    return frozenset(wanted | (known & here))


_NEVER = float("inf")
