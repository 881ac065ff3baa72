"""Remembers which transactions over several shards are committed, so that a restart finishes what a crash cut off.

A transaction is prepared on each shard first. Then one line is written here and forced to disk: that is the commit.
After a restart prepared transactions with a line are committed, those without are rolled back. A journal has an
identity, which is part of the names of its transactions: those of another journal are another router's to decide.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from automator67.engine.durable import sync
from automator67.engine.shards.plan.statements import literal
from automator67.engine.shards.pool import Pool
from automator67.engine.shards.wire.backend import Backend


class JournalInUse(Exception):
    """Another process serves the same logical database."""


class Journal:
    """The journal of one logical database: an append-only file of decided and done transactions."""

    def __init__(self, path: Path, database: str) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The journal itself is replaced below, so the lock is on a file that stays.
        self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise JournalInUse(f"another router serves {database} from {path.parent}") from None
        self._live: set[str] = set()
        self._left = False
        self._id, self._open = self._read()
        self._prefix = f"a67-{database}-{self._id}-"
        # What is done need not be kept: the file starts again with what is open.
        draft = path.with_suffix(".new")
        kept = [f"journal {self._id}\n", *(f"decided {name}\n" for name in sorted(self._open))]
        draft.write_text("".join(kept), encoding="ascii")
        sync(draft)
        os.replace(draft, path)  # noqa: PTH105
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.fsync(self._file)
        sync(path.parent)

    def _read(self) -> tuple[str, set[str]]:
        """Return the identity, a new one for a new journal, and the transactions that are decided and not done."""
        try:
            lines = self._path.read_text(encoding="ascii", errors="replace").splitlines(keepends=True)
        except FileNotFoundError:
            lines = []
        identity, found = secrets.token_hex(4), set[str]()
        for line in lines:
            # A line without its end was never forced to disk, so nothing was committed by it.
            word, _, name = line.removesuffix("\n").partition(" ")
            if not line.endswith("\n"):
                break
            if word == "journal":
                identity = name
            elif word == "decided":
                found.add(name)
            elif word == "done":
                found.discard(name)
        return identity, found

    def begin(self) -> str:
        """Return a name for a transaction that is about to be prepared on several shards.

        On a shard its number follows after a hyphen: shards may be databases of one server, which shares the names.
        """
        name = self._prefix + secrets.token_hex(12)
        self._live.add(name)
        return name

    @property
    def unfinished(self) -> bool:
        """Whether something is left for ``recover``."""
        return self._left

    def leave(self, name: str) -> None:
        """Leave a transaction to ``recover``."""
        self._live.discard(name)
        self._left = True

    def decide(self, name: str) -> None:
        """Commit a transaction that is prepared on every shard: after this it will be, even after a crash."""
        os.write(self._file, f"decided {name}\n".encode())
        os.fsync(self._file)
        self._open.add(name)

    def done(self, name: str) -> None:
        """Forget a transaction that every shard has committed."""
        os.write(self._file, f"done {name}\n".encode())
        self._open.discard(name)
        self._live.discard(name)

    async def recover(self, pools: list[Pool]) -> int:
        """Finish what was left prepared, also by an earlier process; return how many. Raises ShardError."""
        finished, known = 0, set(self._open) - self._live
        for pool in pools:
            backend = await pool.take()
            try:
                for gid in await _prepared(backend, f"starts_with(gid, {literal(self._prefix)})"):
                    name = gid.rpartition("-")[0]
                    if name in self._live:
                        continue
                    verb = "COMMIT" if name in self._open else "ROLLBACK"
                    await backend.run(f"{verb} PREPARED {literal(gid)}")
                    finished += 1
            finally:
                pool.give(backend)
        for name in sorted(known):
            self.done(name)
        self._left = False
        return finished

    async def strangers(self, pools: list[Pool], seconds: float = 60) -> list[str]:
        """Return the names of transactions that other routers left prepared ``seconds`` ago. Raises ShardError."""
        found: list[str] = []
        for pool in pools:
            backend = await pool.take()
            try:
                theirs = f"starts_with(gid, 'a67-') AND NOT starts_with(gid, {literal(self._prefix)})"
                old = f"prepared < now() - make_interval(secs => {float(seconds)})"
                found += await _prepared(backend, f"{theirs} AND {old}")
            finally:
                pool.give(backend)
        return found

    def close(self) -> None:
        """Close the files."""
        os.close(self._file)
        os.close(self._lock)


async def _prepared(backend: Backend, condition: str) -> list[str]:
    """Return the names of the prepared transactions of this database that fulfil a condition, in order."""
    which = f"database = current_database() AND {condition}"
    answer = await backend.run(f"SELECT gid FROM pg_prepared_xacts WHERE {which} ORDER BY gid")  # noqa: S608
    return [str(row[0]) for row in answer.rows]
