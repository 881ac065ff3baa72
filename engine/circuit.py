"""A circuit breaker as a pure state machine: state, time and outcome in, state and decision out.

After Nygard, "Release It!" (2007). ``closed``: calls pass, and failures in a row are counted. ``open``: none passes
until a time. ``half-open``: a few probes pass; the first that succeeds closes the circuit, the first that fails opens
it again, for twice as long. An outcome counts only in the turn in which its call was let through: one that comes late
neither closes nor opens anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Phase = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class Policy:
    """When to open, and for how long; times in seconds.

    ``failures`` in a row within ``window`` open the circuit: for ``first``, then twice as long each time, at most
    ``longest``. ``probes`` calls pass in a turn of half-open; one that says nothing for ``patience`` is given up.
    """

    failures: int = 5
    window: float = 60.0
    first: float = 30.0
    longest: float = 300.0
    probes: int = 1
    patience: float = 60.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """The present: ``failed`` are the times of the newest failures in a row, ``since`` when it left closed.

    ``until`` is when an open one may be probed, ``openings`` how often it opened in a row, ``probed`` when the probes
    that have not answered went out, ``turn`` the number of its phase.
    """

    phase: Phase = "closed"
    failed: tuple[float, ...] = ()
    since: float = 0.0
    until: float = 0.0
    openings: int = 0
    probed: tuple[float, ...] = ()
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """A breaker as people and pages see it. Times are seconds since the epoch, 0: none.

    ``refused`` counts the calls that were not let through since the engine started.
    """

    name: str
    phase: Phase
    since: float = 0.0
    until: float = 0.0
    why: str = ""
    refused: int = 0


def admit(circuit: Circuit, policy: Policy, now: float) -> tuple[Circuit, bool]:
    """Return the circuit after a call was asked for, and whether it may go out; its turn is the circuit's."""
    if circuit.phase == "closed":
        return circuit, True
    if circuit.phase == "open":
        if now < circuit.until:
            return circuit, False
        circuit = replace(circuit, phase="half-open", probed=(), turn=circuit.turn + 1)
    waiting = tuple(at for at in circuit.probed if now - at < policy.patience)
    if len(waiting) >= policy.probes:
        return circuit, False
    return replace(circuit, probed=(*waiting, now)), True


def succeeded(circuit: Circuit, turn: int) -> Circuit:
    """Return the circuit after a call of that turn was answered."""
    if turn != circuit.turn or circuit.phase == "open":
        return circuit
    if circuit.phase == "half-open":
        return Circuit(turn=circuit.turn + 1)
    return replace(circuit, failed=()) if circuit.failed else circuit


def failed(circuit: Circuit, policy: Policy, turn: int, now: float, jitter: float) -> Circuit:
    """Return the circuit after a call of that turn failed. ``jitter`` (0 to 1) shortens an opening by up to a fifth."""
    if turn != circuit.turn or circuit.phase == "open":
        return circuit
    recent = (*(at for at in circuit.failed if now - at < policy.window), now)[-policy.failures :]
    if circuit.phase == "closed" and len(recent) < policy.failures:
        return replace(circuit, failed=recent)
    openings = circuit.openings + 1
    seconds = min(policy.longest, policy.first * 2.0 ** min(openings - 1, 30)) * (1 - jitter / 5)
    since = circuit.since if circuit.phase == "half-open" else now
    return Circuit("open", recent, since, now + seconds, openings, turn=circuit.turn + 1)


def dropped(circuit: Circuit, turn: int) -> Circuit:
    """Return the circuit after a call of that turn ended without an outcome (it was cancelled)."""
    if turn != circuit.turn or not circuit.probed:
        return circuit
    return replace(circuit, probed=circuit.probed[1:])


def most_calls(policy: Policy, seconds: float) -> int:
    """Return how many calls at most go out in so many seconds to somebody who fails them all, one at a time."""
    calls, at, openings = policy.failures, 0.0, 0
    while True:
        openings += 1
        at += min(policy.longest, policy.first * 2.0 ** min(openings - 1, 30)) * 0.8
        if at > seconds:
            return calls
        calls += policy.probes
