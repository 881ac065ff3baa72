"""The providers of one bucket together: blobs written to several, read from whichever answers well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from automator67.engine.buckets.errors import Corrupt, QuotaExceeded, Unavailable
from automator67.engine.buckets.layout import Room, ranked
from automator67.engine.buckets.providers.protocol import Provider, ProviderError

_FAILURES = 3
_PAUSE_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0
_HEDGE_SECONDS = 0.05
_HEDGE_FACTOR = 3.0


@dataclass
class Member:
    """A provider in a bucket: its weight, how many bytes it may hold (None: no limit), and how it fared of late."""

    provider: Provider
    weight: float = 1.0
    quota: int | None = None
    leaving: bool = False
    failures: int = 0
    closed_until: float = 0.0
    usual: float = 0.02
    """How long it usually takes to answer, in seconds."""

    def resting(self) -> bool:
        """Whether it failed so often that it is left alone for a moment."""
        return time.monotonic() < self.closed_until

    def did(self, seconds: float) -> None:
        """Note that it answered."""
        self.failures, self.closed_until = 0, 0.0
        self.usual += 0.1 * (seconds - self.usual)

    def failed(self) -> None:
        """Note that it did not; the third time in a row it gets a rest."""
        self.failures += 1
        if self.failures >= _FAILURES:
            self.closed_until = time.monotonic() + _PAUSE_SECONDS


@dataclass
class Fleet:
    """The members by name. ``used`` tells how many bytes each holds now."""

    members: Mapping[str, Member]
    replicas: int
    used: Callable[[], Mapping[str, int]]
    pending: dict[str, int] = field(default_factory=dict)
    """Bytes that are being written to each just now."""

    async def write(self, name: str, data: bytes) -> list[str]:
        """Write a blob to as many providers as there are replicas; return which.

        A provider that fails is replaced by the next. Raises QuotaExceeded or Unavailable when there are too few; what
        was written then is an orphan, which the collector finds by its intent.
        """
        order = self._order(name, len(data))
        if len(order) < self.replicas:
            raise QuotaExceeded(self._no_room(len(data)))
        done: list[str] = []
        errors: list[str] = []
        queue = list(order)
        while len(done) < self.replicas and queue:
            tried, queue = queue[: self.replicas - len(done)], queue[self.replicas - len(done) :]
            for provider, error in zip(
                tried, await asyncio.gather(*(self.put_at(p, name, data) for p in tried)), strict=True
            ):
                if error:
                    errors.append(error)
                else:
                    done.append(provider)
        if len(done) < self.replicas:
            raise Unavailable(f"{len(done)} of {self.replicas} copies could be written: {'; '.join(errors)}")
        return done

    async def read(
        self, name: str, start: int, length: int, at: Iterable[str], check: Callable[[bytes], Awaitable[bytes]],
        bad: Callable[[str], None],
    ) -> bytes:  # fmt: skip
        """Return what ``check`` makes of a part of a blob, from the first provider of ``at`` whose copy passes it.

        ``check`` raises Corrupt; ``bad`` is told each provider whose copy is corrupt or missing. A provider that is
        slower than usual gets company. Raises Corrupt or Unavailable when none had it.
        """
        order = sorted(
            (p for p in at if p in self.members), key=lambda p: (self.members[p].resting(), self.members[p].usual)
        )
        waiting: set[asyncio.Task[bytes]] = set()
        errors: list[str] = []
        rotten = False
        try:
            for provider in [*order, ""]:
                if provider:
                    waiting.add(asyncio.create_task(self.get_at(provider, name, start, length, check, bad)))
                while waiting:
                    patience = max(_HEDGE_SECONDS, _HEDGE_FACTOR * self.members[provider].usual) if provider else None
                    finished, waiting = await asyncio.wait(
                        waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in finished:
                        if (error := task.exception()) is None:
                            return task.result()
                        if not isinstance(error, (ProviderError, Corrupt)):
                            raise error
                        rotten |= isinstance(error, Corrupt) or error.kind == "missing"
                        errors.append(str(error))
                    if provider:
                        break
        finally:
            for task in waiting:
                task.cancel()
        if rotten:
            raise Corrupt(f"no good copy of {name} can be had: {'; '.join(errors)}")
        raise Unavailable(f"{name} cannot be read now: {'; '.join(errors) or 'no provider is known to have it'}")

    async def put_at(self, provider: str, name: str, data: bytes) -> str:
        """Write a blob to one provider; return why it could not be, "" when it was."""
        member, began = self.members[provider], time.monotonic()
        self.pending[provider] = self.pending.get(provider, 0) + len(data)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS + len(data) / 100_000):
                await member.provider.put(name, data)
        except (ProviderError, TimeoutError) as error:
            member.failed()
            return str(error) or f"{provider}: no answer in time"
        finally:
            self.pending[provider] -= len(data)
        member.did(min(time.monotonic() - began, 1.0))
        return ""

    async def get_at(
        self, provider: str, name: str, start: int, length: int, check: Callable[[bytes], Awaitable[bytes]],
        bad: Callable[[str], None],
    ) -> bytes:  # fmt: skip
        """Return what ``check`` makes of a part of a blob at one provider. Raises ProviderError and Corrupt."""
        member, began = self.members[provider], time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                data = await member.provider.get(name, start, length)
        except TimeoutError:
            error = ProviderError("away", f"{provider}: no answer in time")
            member.failed()
            raise error from None
        except ProviderError as error:
            if error.kind == "missing":
                bad(provider)
            else:
                member.failed()
            raise
        member.did(min(time.monotonic() - began, 1.0))
        try:
            return await check(data)
        except Corrupt as error:
            bad(provider)
            raise Corrupt(f"{provider}: {error}") from None

    def rooms(self) -> dict[str, Room]:
        """Return what each provider may still take."""
        used = self.used()
        return {
            name: Room(
                m.weight,
                None if m.quota is None else m.quota - used.get(name, 0) - self.pending.get(name, 0),
                m.leaving,
            )
            for name, m in self.members.items()
        }

    def _order(self, name: str, size: int) -> list[str]:
        found = ranked(name, size, self.rooms())
        return [p for p in found if not self.members[p].resting()] + [p for p in found if self.members[p].resting()]

    def _no_room(self, size: int) -> str:
        full = [p for p, room in self.rooms().items() if room.free is not None and room.free < size]
        return f"{self.replicas} copies need as many providers with room; full: {', '.join(full) or 'none'}"
