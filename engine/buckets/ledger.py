"""The metadata of one bucket: an SQLite file that several processes may use at once.

What changes an object goes through ``commit.py``, one batch at a time over all processes (``writing``); reading never
waits. A commit is on the disk when it returns.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from automator67.engine.buckets.errors import Unavailable

_T = TypeVar("_T")
_BUSY_SECONDS = 30.0
_FORMAT = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE versions (
    key TEXT NOT NULL, ord INTEGER NOT NULL, id BLOB NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    created REAL NOT NULL, about TEXT NOT NULL, contents BLOB NOT NULL, parts INTEGER NOT NULL, marker INTEGER NOT NULL,
    latest INTEGER NOT NULL, replaced_at REAL, deleted_at REAL, PRIMARY KEY (key, ord)
) WITHOUT ROWID;
CREATE INDEX versions_replaced ON versions (replaced_at) WHERE replaced_at IS NOT NULL;
CREATE INDEX versions_deleted ON versions (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE TABLE contents (
    id BLOB PRIMARY KEY, size INTEGER NOT NULL, cut INTEGER NOT NULL, key BLOB NOT NULL, refs INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE chunks (
    content BLOB NOT NULL, n INTEGER NOT NULL, blob INTEGER NOT NULL, off INTEGER NOT NULL, len INTEGER NOT NULL,
    PRIMARY KEY (content, n)
) WITHOUT ROWID;
CREATE INDEX chunks_blob ON chunks (blob);
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, state TEXT NOT NULL, at REAL NOT NULL,
    session TEXT NOT NULL, live INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX blobs_unused ON blobs (state, at) WHERE live = 0;
CREATE TABLE copies (
    blob INTEGER NOT NULL, provider TEXT NOT NULL, bad INTEGER NOT NULL DEFAULT 0, checked REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (blob, provider)
) WITHOUT ROWID;
CREATE TABLE uploads (id TEXT PRIMARY KEY, key TEXT NOT NULL, about TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX uploads_key ON uploads (key, id);
CREATE TABLE upload_parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, content BLOB NOT NULL, etag TEXT NOT NULL, size INTEGER NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE TABLE totals (provider TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER copies_made AFTER INSERT ON copies BEGIN
    INSERT INTO totals VALUES (new.provider, (SELECT size FROM blobs WHERE id = new.blob))
    ON CONFLICT (provider) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER copies_gone AFTER DELETE ON copies BEGIN
    UPDATE totals SET bytes = bytes - (SELECT size FROM blobs WHERE id = old.blob) WHERE provider = old.provider;
END;
CREATE TRIGGER versions_made AFTER INSERT ON versions BEGIN
    UPDATE meta SET value = value + new.size WHERE name = 'bytes';
END;
CREATE TRIGGER versions_gone AFTER DELETE ON versions BEGIN
    UPDATE meta SET value = value - old.size WHERE name = 'bytes';
END;
"""
"""States of a blob: ``intent`` (``session`` is writing it), ``live``, ``condemned`` (nothing needs it)."""


class Ledger:
    """The SQLite file in ``folder``. To be used from one event loop; ``close`` it at the end."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.path = folder / "meta.db"
        self.path.touch(mode=0o600, exist_ok=True)
        self._lock = os.open(folder / "commit.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._writer = _connect(self.path)
        with _transaction(self._writer):
            if self._writer.execute("PRAGMA user_version").fetchone()[0] == 0:
                _create(self._writer)
        self.reader = _connect(self.path)
        self.reader.execute("PRAGMA query_only = on")

    def close(self) -> None:
        """Let go of the file."""
        self._thread.shutdown()
        self._writer.close()
        self.reader.close()
        os.close(self._lock)

    async def write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run ``work`` in one transaction, beside the loop: committed at the end, undone when it raises."""

        def run() -> _T:
            with _transaction(self._writer):
                done = work(self._writer)
            if isinstance(done, sqlite3.Cursor):
                # Let go of in the loop's thread, it would disturb the statement that runs here by then.
                done.close()
            return done

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Be the one, of all processes, who decides what happens to objects."""
        async with self._turn:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.to_thread(fcntl.flock, self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def meta(self, name: str) -> str | int | None:
        """Return a value of the bucket itself."""
        row = self.reader.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None


def set_meta(tx: sqlite3.Connection, name: str, value: str | int) -> None:
    """Keep a value of the bucket itself."""
    tx.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value))


def _create(connection: sqlite3.Connection) -> None:
    for statement in _statements(_SCHEMA):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {_FORMAT}")
    set_meta(connection, "bytes", 0)
    set_meta(connection, "sequence", 0)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False,
                                 cached_statements=256)  # fmt: skip
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = full")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise Unavailable(f"the metadata cannot be written now: {error}") from error
