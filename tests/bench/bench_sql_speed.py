"""How fast the SQL router is, beside PostgreSQL without it and beside PgBouncer, all on unix sockets of this machine.

``python -m tests.bench.bench_sql_speed [ROWS_PER_SHARD]``, a million by default. Needs the Debian packages
``postgresql-contrib`` (pgbench) and ``pgbouncer``. Bars: see ``Bars``.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from automator67.engine.shards.layout import layout_of
from tests.support.pgbench import Load, load, pgbouncer
from tests.support.shards import databases, postgres
from tests.support.sql_front import FrontProcess, front

ROUNDS, SECONDS = 5, 2
ACCOUNTS = 100_000
GROUPS = "SELECT region, count(*), sum(qty), avg(qty) FROM orders GROUP BY region"
PARTIAL = "SELECT region, count(*), sum(qty), count(qty) FROM orders GROUP BY region"
NEWEST = "SELECT id, made FROM orders ORDER BY made DESC LIMIT 100"


@dataclass
class Bars:
    """Prints each figure with its bar and remembers whether one was missed."""

    missed: list[str] = field(default_factory=list)

    def at_most(self, what: str, found: float, bar: float, unit: str) -> None:
        """Judge a figure that should be small."""
        self._judge(what, found, found <= bar, f"at most {bar:g} {unit}", unit)

    def at_least(self, what: str, found: float, bar: float, unit: str) -> None:
        """Judge a figure that should be large."""
        self._judge(what, found, found >= bar, f"at least {bar:g} {unit}", unit)

    def _judge(self, what: str, found: float, good: bool, bar: str, unit: str) -> None:
        print(f"{'ok  ' if good else 'MISS'} {what}: {found:.4g} {unit} (bar: {bar})", flush=True)
        if not good:
            self.missed.append(what)


def main() -> int:
    """Measure, print, and return 1 when a bar is missed."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    bars = Bars()
    with postgres() as url, databases(url, 5) as (alone, *shards), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        document = {"shards": [{"name": f"s{n}", "url": u} for n, u in enumerate(shards)],
                    "tables": {t: {"strategy": "hash", "key": "id"} for t in ("account", "orders")}}  # fmt: skip
        fill(document, alone, shards, rows)
        query = urlsplit(alone)
        host = parse_qs(query.query)["host"][0]
        with pgbouncer(host, query.path[1:], folder) as pooled, front(document, folder) as router:
            points(bars, folder, alone, pooled, router)
            scattered(bars, shards, router)
            grouped(bars, shards, router)
            exported(bars, alone, router)
    return int(bool(bars.missed))


def fill(document: dict[str, Any], alone: str, shards: list[str], rows: int) -> None:
    """Make the tables: the shards have ``rows`` orders each; the database alone has as many in all as one shard."""
    slots = layout_of("shop", document).slots
    with ThreadPoolExecutor() as pool:
        wanted = [(alone, None), *((url, n) for n, url in enumerate(shards))]
        list(pool.map(lambda job: _fill_one(job[0], job[1], slots, rows), wanted))


def _fill_one(url: str, number: int | None, slots: tuple[int, ...], rows: int) -> None:
    where, total = "", rows
    if number is not None:
        where = f"WHERE ('{{{','.join(map(str, slots))}}}'::int[])[(hashint8extended(g, 0) & 4095)::int + 1] = {number}"
        total = 4 * rows
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE UNLOGGED TABLE account (id bigint PRIMARY KEY, balance int, tag int)")
        connection.execute(
            f"INSERT INTO account SELECT g, g % 1000, g % 5000 FROM generate_series(1, {ACCOUNTS}) g {where}"
        )
        connection.execute("CREATE INDEX ON account (tag)")
        connection.execute("CREATE UNLOGGED TABLE orders (id bigint, region int, qty int, made timestamp, note text)")
        connection.execute(
            "INSERT INTO orders SELECT g, g % 300, g % 17, timestamp '2024-01-01' + g * interval '1 second', "
            f"'a note on order ' || g FROM generate_series(1, {total}) g {where}"
        )
        connection.execute("CREATE INDEX ON orders (made)")
        connection.execute("VACUUM ANALYZE")


def points(bars: Bars, folder: Path, alone: str, pooled: str | None, router: FrontProcess) -> None:
    """Select one row by its key, prepared."""
    script = folder / "point.sql"
    script.write_text(f"\\set id random(1, {ACCOUNTS})\nSELECT balance FROM account WHERE id = :id;\n")
    for clients in (8, 1):
        found: dict[str, list[Load]] = {"direct": [], "pgbouncer": [], "router": []}
        cpu: list[float] = []
        for _ in range(ROUNDS):
            found["direct"].append(load(alone, script, clients=clients, seconds=SECONDS))
            if pooled is not None:
                found["pgbouncer"].append(load(pooled, script, clients=clients, seconds=SECONDS))
            before = router.cpu_seconds
            found["router"].append(load(router.url, script, clients=clients, seconds=SECONDS))
            cpu.append(1e6 * (router.cpu_seconds - before) / found["router"][-1].transactions)
        for name, runs in found.items():
            if runs:
                print(f"     point select, {clients} clients, {name}: {max(r.per_second for r in runs):,.0f} a second, "
                      f"{min(r.microseconds for r in runs) :.0f} us")  # fmt: skip
        if clients == 8:
            bars.at_least("of direct", 100 * ratio(found["router"], found["direct"]), 45, "%")
            if pooled is not None:
                bars.at_least("of PgBouncer", 100 * ratio(found["router"], found["pgbouncer"]), 60, "%")
            bars.at_most("CPU of a query", statistics.median(cpu), 16, "us")
        else:
            added = [r.microseconds - d.microseconds for r, d in zip(found["router"], found["direct"], strict=True)]
            bars.at_most("added to one client's query", statistics.median(added), 60, "us")


def ratio(ours: list[Load], theirs: list[Load]) -> float:
    """Return the median of the ratios of runs next to each other."""
    return statistics.median(a.per_second / b.per_second for a, b in zip(ours, theirs, strict=True))


def milliseconds(work: Callable[[], object], times: int) -> float:
    """Return the median time of a piece of work."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(1e3 * (time.perf_counter() - started))
    return statistics.median(found)


def scattered(bars: Bars, shards: list[str], router: FrontProcess) -> None:
    """Ask all shards for a few rows each."""
    tiny = "SELECT id, balance FROM account WHERE tag = %s"
    with psycopg.connect(router.url, autocommit=True) as ours, psycopg.connect(shards[0], autocommit=True) as direct:
        mine = milliseconds(lambda: ours.execute(tiny, (7,), prepare=True).fetchall(), 500)
        before = router.cpu_seconds
        milliseconds(lambda: ours.execute(tiny, (7,), prepare=True).fetchall(), 2000)
        cpu = 1e6 * (router.cpu_seconds - before) / 2000
        one = milliseconds(lambda: direct.execute(tiny, (7,), prepare=True).fetchall(), 500)
        print(f"     tiny query of 4 shards: {mine:.2f} ms, of one alone {one:.2f} ms")
        bars.at_most("router time of a tiny query of 4 shards", cpu, 200, "us")
        newest = milliseconds(lambda: ours.execute(NEWEST, prepare=True).fetchall(), 100)
        bars.at_most("ORDER BY LIMIT 100", newest, 3, "ms")


def grouped(bars: Bars, shards: list[str], router: FrontProcess) -> None:
    """Make 300 groups of all rows."""
    with psycopg.connect(router.url, autocommit=True) as ours, ThreadPoolExecutor(4) as pool:
        direct = [psycopg.connect(url, autocommit=True) for url in shards]

        def together() -> None:
            list(pool.map(lambda c: c.execute(PARTIAL).fetchall(), direct))

        together()
        pairs = [
            (milliseconds(lambda: ours.execute(GROUPS).fetchall(), 1), milliseconds(together, 1)) for _ in range(7)
        ]
        for connection in direct:
            connection.close()
    mine, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"     300 groups: {mine:.0f} ms, the slowest of 4 shards at the same time {theirs:.0f} ms")
    bars.at_most("300 groups by the slowest shard", statistics.median(a / b for a, b in pairs), 1.1, "times")


def exported(bars: Bars, alone: str, router: FrontProcess) -> None:
    """Copy as many rows out of four shards as PostgreSQL has alone."""

    def rate(connection: psycopg.Connection[Any], sql: str) -> float:
        started, size = time.perf_counter(), 0
        with connection.cursor().copy(sql) as copy:
            for data in copy:
                size += len(data)
        return size / 1e6 / (time.perf_counter() - started)

    with psycopg.connect(router.url, autocommit=True) as ours, psycopg.connect(alone, autocommit=True) as direct:
        pairs = [(rate(ours, "COPY orders TO STDOUT"), rate(direct, "COPY orders TO STDOUT")) for _ in range(3)]
    print(f"     export: {max(a for a, _ in pairs):.0f} MB/s, direct {max(b for _, b in pairs):.0f} MB/s")
    bars.at_least("export of COPY from one", 100 * statistics.median(a / b for a, b in pairs), 80, "%")


if __name__ == "__main__":
    sys.exit(main())
