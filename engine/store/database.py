"""Opens the store: SQLite (WAL) from a path, PostgreSQL from a URL; for writing, or so that writing is refused.

Write transactions take SQLite's write lock at once (``BEGIN IMMEDIATE``), so two writers wait for each other instead
of failing half-way; on PostgreSQL they are serialised by an advisory lock, since the engine is the only writer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

BUSY_SECONDS = 5.0
_WRITER_LOCK = 67_67_67
"""The advisory lock (PostgreSQL) that a write transaction holds."""


class StoreUnavailable(Exception):
    """The store cannot be used now: locked for too long, disk full, unreachable. Nothing was written."""


class StoreReadOnly(Exception):
    """A write was tried through a store opened for reading."""


class Store:
    """The store's two ways in: ``begin()`` for a write transaction, ``read()`` for a consistent look."""

    def __init__(self, reader: Engine, writer: Engine | None) -> None:
        self._reader = reader
        self._writer = writer

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction: committed at the end, rolled back when the block raises.

        Raises StoreUnavailable when the database is locked, full or away, StoreReadOnly in a reading process.
        """
        if self._writer is None:
            raise StoreReadOnly("the store is open for reading only in this process")
        with _person_errors(), self._writer.begin() as tx:
            if tx.dialect.name == "postgresql":
                tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})
            yield tx

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction: everything read inside belongs to one moment. Raises StoreUnavailable."""
        with _person_errors(), self._reader.connect() as tx, tx.begin():
            yield tx

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()
        if self._writer is not None:
            self._writer.dispose()


def open_store(where: str | Path, *, readonly: bool = False) -> Store:
    """Open the store at a path (SQLite) or a ``postgresql://`` URL.

    Opened for writing, its schema is brought to the present version first. Opened ``readonly`` the database itself
    refuses writes. Raises StoreUnavailable when there is none to read or it cannot be opened.
    """
    name = str(where)
    if name.startswith(("postgresql://", "postgresql+psycopg://")):
        return _open_postgresql(name, readonly)
    return _open_sqlite(Path(name), readonly)


def _open_sqlite(path: Path, readonly: bool) -> Store:
    if readonly:
        if not path.exists():
            raise StoreUnavailable(f"there is no store at {path} yet; start the engine first")
        return Store(_sqlite_engine(path, "ro", "BEGIN"), None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)
    writer = _sqlite_engine(path, "rw", "BEGIN IMMEDIATE")
    with _person_errors():
        _migrate(writer)
    return Store(_sqlite_engine(path, "rw", "BEGIN"), writer)


def _sqlite_engine(path: Path, mode: str, begin: str) -> Engine:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    engine = create_engine(
        "sqlite+pysqlite://",
        creator=lambda: sqlite3.connect(
            uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        ),
        poolclass=NullPool if mode == "ro" else QueuePool,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        if mode == "ro":
            connection.execute("PRAGMA query_only = on")
        else:
            connection.execute("PRAGMA journal_mode = wal")
            connection.execute("PRAGMA synchronous = normal")
            connection.execute("PRAGMA journal_size_limit = 16777216")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _open_postgresql(url: str, readonly: bool) -> Store:
    url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    args: dict[str, Any] = {"connect_timeout": 5}
    if readonly:
        args["options"] = "-c default_transaction_read_only=on"
    engine = create_engine(url, connect_args=args, pool_pre_ping=True)
    if readonly:
        return Store(engine, None)
    with _person_errors():
        _migrate(engine)
    return Store(engine, engine)


def _migrate(engine: Engine) -> None:
    # Alembic is slow to import; readers never need it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _person_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        message = str(error.orig).lower()
        if "readonly" in message or "read-only" in message:
            raise StoreReadOnly("the store is open for reading only in this process") from error
        if "locked" in message or "busy" in message:
            raise StoreUnavailable(
                f"the store stayed locked for {BUSY_SECONDS:.0f} s; is a second engine running on it?"
            ) from error
        if "full" in message or "disk i/o" in message or "no space" in message:
            raise StoreUnavailable("the store cannot be written: the disk is full or failing") from error
        if "unable to open" in message or "connection" in message or error.connection_invalidated:
            raise StoreUnavailable(f"the store cannot be reached: {error.orig}") from error
        raise
