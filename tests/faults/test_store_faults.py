"""The store on a full disk, and on PostgreSQL: the engine goes on, and says what is wrong."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from automator67.engine.store.database import StoreUnavailable, open_store
from automator67.engine.store.facts import fact
from tests.support.cloud import Cloud, http_app, wait_for
from tests.support.stores import postgres_server, store_url

__all__ = ["postgres_server", "store_url"]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    if os.geteuid() != 0:
        pytest.skip("a small file system of its own needs root")
    place = tmp_path / "state"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_told_and_waited_out(tmp_path: Path, small_disk: Path) -> None:
    with Cloud(tmp_path, nodes=("one",)) as cloud:
        cloud.poll = "300ms"
        cloud.push(cloud.base() | {"apps/web.yaml": http_app("v0")}, "start")
        cloud.up()
        cloud.wait_app("web", lambda s: s.sync == "synced")
        ballast = small_disk / "ballast"
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], stderr=subprocess.DEVNULL)
        commit = cloud.push({"apps/web.yaml": http_app("v1")}, "while full")
        wait_for(
            "the engine to say so",
            lambda: "disk is full" in cloud.log("engine") or "cannot be written" in cloud.log("engine"),
        )
        assert cloud.processes["engine"].poll() is None, "it goes on"
        ballast.unlink()
        cloud.wait_commit(commit)
        cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy")


@pytest.mark.postgres
def test_the_engine_runs_on_postgresql(tmp_path: Path, postgres_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a67_engine"
    admin = create_engine(
        postgres_server.format(database="postgres").replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    url = postgres_server.format(database=name)
    monkeypatch.setenv("A67_STORE", url)
    with Cloud(tmp_path) as cloud:
        cloud.poll = "300ms"
        cloud._store = open_store(url)
        commit = cloud.push(cloud.base() | {"apps/web.yaml": http_app("hello", replicas=2)}, "start")
        cloud.up()
        cloud.wait_commit(commit)
        state = cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy")
        assert len(state.instances) == 2
        assert "web" in cloud.cli("status").stdout
        assert not (cloud.state / "store.db").exists()
        with cloud._store.read() as tx:
            assert fact(tx, "head") == commit


def test_a_store_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        open_store("postgresql://nobody@127.0.0.1:1/none")
