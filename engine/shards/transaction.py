"""A client's transaction over shards: joined by each shard when it is first needed, ended on all of them or none."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from automator67.engine.shards.journal import Journal
from automator67.engine.shards.plan.model import Refused
from automator67.engine.shards.wire.backend import Backend, ShardError

log = logging.getLogger("automator67.sql")

Lend = Callable[[int], Awaitable[Backend]]


@dataclass(slots=True)
class Transaction:
    """``begin`` is how the client began it; ``prelude`` what it did since that later shards must do too.

    ``settings_before`` are those to go back to, where it changed some.

    ``implicit`` ones end with the client's message instead of with COMMIT.
    """

    begin: str
    implicit: bool = False
    prelude: list[str] = field(default_factory=list)
    backends: dict[int, Backend] = field(default_factory=dict)
    wrote: set[int] = field(default_factory=set)
    failed: bool = False
    settings_before: dict[str, str] | None = None
    best_effort: bool = False

    @property
    def read_only(self) -> bool:
        """Whether it was begun as one that writes nothing."""
        return "read only" in " ".join([self.begin, *self.prelude]).lower()

    async def join(self, shard: int, lend: Lend) -> Backend:
        """Return the connection to a shard, with the transaction begun there. Raises ShardError."""
        if shard not in self.backends:
            backend = await lend(shard)
            self.backends[shard] = backend
            for text in (self.begin, *self.prelude):
                await backend.run(text)
        return self.backends[shard]

    async def will_write(self, shards: set[int], *, ddl: bool = False) -> None:
        """Make sure that writes to these shards can be committed as one. Raises Refused, ShardError.

        DDL is let through without two-phase commit too: ``shards check`` tells of a shard that was left out.
        """
        after = self.wrote | shards
        if ddl and len(after) > 1:
            able = [await two_phase(self.backends[n]) for n in sorted(after) if n in self.backends]
            self.best_effort = self.best_effort or not all(able)
        if len(after) > 1 and not self.best_effort:
            for number in sorted(after):
                backend = self.backends.get(number)
                if backend is not None and not await two_phase(backend):
                    raise Refused(
                        f"this would change several shards at once, and shard {backend.shard} has no two-phase commit",
                        "Set max_prepared_transactions there, or accept commits one after another: "
                        "SET automator67.multi_shard_writes = 'best effort'.",
                    )
        self.wrote = after

    async def everywhere(self, text: str) -> None:
        """Run a statement on each shard that has joined, and later on those that join. Raises ShardError."""
        for backend in self.backends.values():
            await backend.run(text)
        self.prelude.append(text)

    async def commit(self, journal: Journal) -> None:
        """Commit on all shards. Raises ShardError; then it is undone, or the journal finishes it."""
        writers = [b for n, b in self.backends.items() if n in self.wrote]
        readers = [b for n, b in self.backends.items() if n not in self.wrote]
        for backend in readers:
            await backend.run("COMMIT")
        if len(writers) <= 1 or self.best_effort:
            for backend in writers:
                await backend.run("COMMIT")
            return
        await self._commit_in_two_phases(writers, journal)

    async def _commit_in_two_phases(self, writers: list[Backend], journal: Journal) -> None:
        name = journal.begin()
        prepared: list[Backend] = []
        try:
            for backend in writers:
                await backend.run(f"PREPARE TRANSACTION '{name}-{backend.number}'")
                prepared.append(backend)
            # From here on it is committed, whatever happens: who finds the line finishes it.
            journal.decide(name)
        except (ShardError, OSError):
            for backend in prepared:
                with contextlib.suppress(ShardError):
                    await backend.run(f"ROLLBACK PREPARED '{name}-{backend.number}'")
            journal.leave(name)
            raise
        try:
            for backend in writers:
                await backend.run(f"COMMIT PREPARED '{name}-{backend.number}'")
        except ShardError as trouble:
            # The client is told that it is committed: it will be, as soon as the shard answers again.
            journal.leave(name)
            log.warning("a decided transaction is not finished yet, it will be: %s", trouble)
        else:
            journal.done(name)

    async def roll_back(self) -> None:
        """Undo it on all shards; a shard that has gone has undone it already."""
        for backend in self.backends.values():
            if not backend.busy and backend.status != b"I":
                try:
                    await backend.run("ROLLBACK")
                except ShardError:
                    backend.close()


async def two_phase(backend: Backend) -> bool:
    """Whether the shard can prepare transactions. Raises ShardError."""
    if "max_prepared_transactions" not in backend.parameters:
        found = await backend.run("SHOW max_prepared_transactions")
        backend.parameters["max_prepared_transactions"] = str(found.rows[0][0])
    return backend.parameters["max_prepared_transactions"] != "0"
