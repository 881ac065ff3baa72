"""A place that is an account at a provider: everything that is the same whichever provider it is.

What differs is an ``Account``, one module for each provider: see docs/adding-a-provider.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from automator67.engine.apis.client import ApiError
from automator67.engine.places.converge import mark_of
from automator67.engine.places.hosted.lines import PolledLines
from automator67.engine.places.hosted.service import Service, Stamp, of_ours, read_stamp, stamp_of
from automator67.engine.places.protocol import Act, Line, Lines, Message, Opened, PlaceError, Seen, Unit

T = TypeVar("T")
STEADY_SECONDS = 30.0
CHANGING_SECONDS = (3.0, 15.0)
"""How long between looks while something is deployed: the first pause, and the longest."""
STAMPED = "stamp"
"""Where the stamp is in a shape, whatever else a provider's looks like."""


@dataclass(frozen=True, slots=True)
class Found:
    """All that an account shows: services of ours, and what else is there."""

    services: tuple[Service, ...]
    foreign: tuple[Message, ...] = ()
    conditions: tuple[str, ...] = ()


class Account(Protocol):
    """One account at a provider. Methods raise ApiError; each does with as few calls as the provider lets it."""

    kind: str

    def identity(self) -> str:
        """Return what the provider calls the account."""

    def look(self, cloud: str, node: str) -> Found:
        """Return everything that is there; complete, or ApiError."""

    def shape(self, cloud: str, unit: Unit, opened: Opened) -> dict[str, Any]:
        """Return what the account is asked to run, as the API writes it. Pure."""

    def differences(self, wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> Iterable[str]:
        """Return in words, without secrets, where a service was changed by hand. Pure."""

    def create(self, shape: Mapping[str, Any], stamp: Stamp) -> None:
        """Make a service with its stamp, in one call that either happens or does not."""

    def update(self, service: Service, shape: Mapping[str, Any], stamp: Stamp) -> None:
        """Bring a service to a shape; ``stamp`` with its mark may be written only when all else is done."""

    def remove(self, handle: str) -> None:
        """Take a service away; one that is not there is fine."""

    def lines(self, service: Service, since: float, tail: int) -> list[Line]:
        """Return log lines, oldest first: none before ``since``, the last ``tail`` (-1: as many as there are)."""

    def close(self) -> None:
        """Let go of all connections; calls that wait end soon."""


class HostedPlace:
    """An account as a place; looks and acts one call at a time, whoever asks."""

    def __init__(
        self,
        name: str,
        cloud: str,
        account: Account,
        room: tuple[float, int],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``room``: cores and bytes of memory that the account has for apps in all."""
        self.name, self.kind = name, account.kind
        self._cloud, self._account, self._room, self._clock = cloud, account, room, clock
        self._services: dict[str, Service] = {}
        self._changing = 0
        self._lock = threading.Lock()

    def observe(self) -> Seen:
        """Look at everything. Raises PlaceError; an account that does not answer is not empty."""
        found = self._ask(lambda: self._account.look(self._cloud, self.name))
        mine = of_ours(found.services, self._cloud, self.name)
        self._services = {s.handle: s for s in found.services}
        self._changing = self._changing + 1 if any(u.changing for u in mine.values()) else 0
        cpu, memory = self._room
        identity = self._ask(self._account.identity)
        return Seen(mine, found.foreign, found.conditions, cpu, memory, self._clock(), identity)

    def shape(self, unit: Unit, opened: Opened) -> Mapping[str, Any]:
        """Return what the account is asked to run, with the stamp but for its mark. Pure."""
        stamp = stamp_of(self._cloud, self.name, unit)
        return self._account.shape(self._cloud, unit, opened) | {STAMPED: stamp.text()}

    def differences(self, wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> tuple[str, ...]:
        """Return in words where a service was changed. Pure."""
        return tuple(self._account.differences(wanted, seen))

    def act(self, action: Act) -> None:
        """Create, update or remove one service."""
        self._ask(lambda: self._act(action))

    def pause(self) -> float:
        """Return how long until the next look: soon while something is deployed, then less and less often."""
        if not self._changing:
            return STEADY_SECONDS
        return min(CHANGING_SECONDS[1], CHANGING_SECONDS[0] * 1.5 ** (self._changing - 1))

    def logs(self, instance: str, *, tail: int, since: float, follow: bool) -> Lines:
        """Return log lines of the service that an instance belongs to; followed ones are asked for again and again."""
        app = instance.rsplit("-", 2)[0]
        service = next((s for s in self._services.values() if s.stamp.app == app), None)
        if service is None:
            raise PlaceError(f"{instance} has no service at {self.kind} now")
        first = self._ask(lambda: self._account.lines(service, since, tail))
        return PolledLines(first, lambda at: self._ask(lambda: self._account.lines(service, at, -1)), follow=follow)

    def watch(self, notify: Callable[[], None]) -> None:
        """Providers have no events that reach an engine behind NAT: they are looked at."""

    def close(self) -> None:
        """End calls that wait."""
        self._account.close()

    def _act(self, action: Act) -> None:
        if action.verb == "remove":
            assert action.seen is not None
            self._account.remove(action.seen.handle)
            return
        stamp = read_stamp(action.shape[STAMPED])
        assert stamp is not None
        shape = {key: value for key, value in action.shape.items() if key != STAMPED}
        marked = replace(stamp, mark=mark_of(action.shape))
        if action.seen is None:
            self._account.create(shape, marked)
            return
        service = self._services[action.seen.handle]
        self._account.update(service, shape, replace(marked, was=_was(service)))

    def _ask(self, work: Callable[[], T]) -> T:
        try:
            # The runner looks and acts; logs are asked for from other threads.
            with self._lock:
                return work()
        except ApiError as error:
            raise PlaceError(str(error)) from None
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise PlaceError(f"{self.kind} answers something that is not understood ({type(error).__name__})") from None


def _was(service: Service) -> tuple[str, int] | None:
    """Return the revision that serves while the next one is deployed."""
    return (service.stamp.rev, service.stamp.attempt) if service.state == "live" else service.stamp.was
