"""Runs one place: looks, reports, and brings it to what is wanted; in a thread of its own, until it is closed.

What an agent does on its node, this does from here: every look is a full report to the registry, so that silence is
judged the same way. A place that cannot be reached reports nothing, which is not the same as reporting nothing there.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from automator67.engine.apis import keeper
from automator67.engine.places.converge import Shaped, converge, mark_of, same_attempt, units_of
from automator67.engine.places.protocol import Act, Message, Opened, Place, PlaceError, Seen, Unit
from automator67.engine.places.report import drifts_of, report

log = logging.getLogger("automator67.places")

FAILED_SECONDS = 5.0
"""How long until the next look after a turn that went wrong in our own code."""
SETTLE_SECONDS = 0.3
"""How long events gather before the next look."""
RETRY_SECONDS = (1.0, 60.0)


class Desk(keeper.Desk, Protocol):
    """What a runner knows of the engine: what any keeper does, and what is to run."""

    def desired(self, node: str) -> tuple[str, Sequence[Message]] | None:
        """Return the revision and the instances that a node should run, None while that is not known."""

    def opened(self, message: Message) -> Opened:
        """Return the secrets that an instance's message names. Raises PlaceError when they cannot be had."""


@dataclass(slots=True)
class _Backoff:
    """When an act that failed may be tried again; another wish is tried at once."""

    wish: str = ""
    failures: int = 0
    until: float = 0.0
    why: str = ""


class Runner:
    """One place and its thread."""

    def __init__(self, place: Place, desk: Desk, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.place = place
        self._desk = desk
        self._monotonic = monotonic
        self._backoffs: dict[str, _Backoff] = {}
        self._made: set[str] = set()
        self._seq = 0
        self._trouble = ""
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"place-{place.name}", daemon=True)
        self.empty = False
        """Whether nothing of ours was there at the last look, and nothing is wanted."""

    def start(self) -> None:
        """Begin to look."""
        self.place.watch(self.wake)
        self._thread.start()

    def close(self) -> None:
        """Stop soon: nothing new is begun, what runs at the place stays."""
        self._closed.set()
        self._wake.set()
        self.place.close()

    def wake(self) -> None:
        """Look soon: something may have changed."""
        self._wake.set()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._closed.is_set():
            again = FAILED_SECONDS
            try:
                again = SETTLE_SECONDS if self.turn() else self._pause()
            except Exception:
                # One place must not take the others along, whatever its adapter does.
                log.exception("place %s: a turn failed", self.place.name)
            if self._wake.wait(again):
                self._closed.wait(SETTLE_SECONDS)
                self._wake.clear()

    def _pause(self) -> float:
        """Return how long until the next look; sooner when an act that failed may be tried again."""
        due = [state.until - self._monotonic() for state in self._backoffs.values() if state.failures]
        return max(SETTLE_SECONDS, min([self.place.pause(), self._desk.beat(), *due]))

    def turn(self) -> bool:
        """Look once, report, act; return whether something was done that is worth looking at soon."""
        name = self.place.name
        try:
            seen = self.place.observe()
        except PlaceError as error:
            if not self._closed.is_set():
                self._note(str(error))
                self._desk.unreachable(name, str(error))
            return False
        if self._closed.is_set():
            return False
        self._note("")
        desired = self._desk.desired(name)
        if desired is None:
            # Nothing is known to be wanted yet, which is not the same as nothing being wanted.
            self._report(seen, (), {}, "")
            self._made |= set(seen.units)
            return False
        rev, messages = desired
        wanted = tuple(self._shaped(unit) for unit in same_attempt(units_of(messages), seen))
        removed = self._removed(wanted, seen)
        drifts = drifts_of(wanted, seen, self.place.differences, removed)
        left = frozenset(w.unit.app for w in wanted if w.unit.app in removed and w.unit.drift == "report")
        acts = converge(wanted, seen, drifts, left)
        self._backoffs = {app: state for app, state in self._backoffs.items() if app in {a.app for a in acts}}
        done = [act for act in acts if self._do(act)]
        self._made = set(seen.units) | (self._made & {w.unit.app for w in wanted})
        self._report(seen, wanted, drifts, "" if acts else rev)
        self.empty = not seen.units and not messages
        return bool(done)

    def _shaped(self, unit: Unit) -> Shaped:
        if unit.keep:
            return Shaped(unit)
        try:
            opened = self._desk.opened(unit.message)
        except PlaceError as error:
            return Shaped(unit, trouble=str(error))
        return Shaped(unit, self.place.shape(unit, opened), opened)

    def _removed(self, wanted: Sequence[Shaped], seen: Seen) -> set[str]:
        apps = {w.unit.app for w in wanted if not w.unit.keep and w.unit.drift != "off"}
        return {app for app in apps & self._made if app not in seen.units}

    def _do(self, act: Act) -> bool:
        wish = f"{act.verb} {act.reason} {mark_of(act.shape)}"
        state = self._backoffs.setdefault(act.app, _Backoff())
        if state.wish == wish and self._monotonic() < state.until:
            return False
        try:
            self.place.act(act)
        except PlaceError as error:
            failures = state.failures + 1 if state.wish == wish else 1
            delay = min(RETRY_SECONDS[1], RETRY_SECONDS[0] * 2 ** (failures - 1)) * random.uniform(0.75, 1)  # noqa: S311
            self._backoffs[act.app] = _Backoff(wish, failures, self._monotonic() + delay, str(error))
            if state.why != str(error):
                log.warning("%s: %s: %s", self.place.name, act.app, error, extra={"resource": f"app/{act.app}"})
            return False
        self._backoffs.pop(act.app, None)
        log.info("%s: %s %s: %s", self.place.name, act.verb, act.app, act.reason, extra={"resource": f"app/{act.app}"})
        return True

    def _report(self, seen: Seen, wanted: Sequence[Shaped], drifts: Mapping[str, Sequence[str]], rev: str) -> None:
        errors = {app: state.why for app, state in self._backoffs.items() if state.why}
        self._seq += 1
        message = report(
            seen, wanted, drifts, errors, boot_id=f"place-{seen.identity}"[:64], seq=self._seq, applied=rev
        )
        self._desk.report(self.place.name, message)

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("place %s: %s", self.place.name, trouble)
        elif self._trouble and not trouble:
            log.info("place %s answers again", self.place.name)
        self._trouble = trouble
