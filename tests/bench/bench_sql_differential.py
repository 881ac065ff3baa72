"""Compares random queries through the SQL router with one PostgreSQL: ``[STATEMENTS] [SEED]``, 20,000 and 1 by default.

Four shards, one of them empty; every other statement by the extended protocol in binary. Bars: no wrong answer, at
least 99 of 100 answered rather than refused.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psycopg

from automator67.engine.shards.plan.model import Refused, tier_of
from automator67.engine.shards.plan.planner import plan_statement
from automator67.engine.shards.plan.statements import split
from tests.support import sql_cases, sql_compare
from tests.support.shards import Running, databases, postgres

ROUND = 2000
"""Statements for each set of rows."""


def main() -> int:
    """Run and print figures; 1 when a bar is missed."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    wrong: list[str] = []
    refused = 0
    tiers: Counter[str] = Counter()
    started = time.monotonic()
    with postgres() as url:
        for n in range(0, total, ROUND):
            found, no = one_round(url, seed + n, min(ROUND, total - n), tiers)
            wrong += found
            refused += no
    answered = 1 - refused / total
    print(f"{total} statements in {time.monotonic() - started:.0f} s: {dict(tiers.most_common())}")
    print(f"wrong answers: {len(wrong)} (bar: 0)")
    print(f"answered: {answered:.2%} (bar: 99%)")
    print("\n".join(wrong[:20]))
    return int(bool(wrong) or answered < 0.99)


def one_round(url: str, seed: int, count: int, tiers: Counter[str]) -> tuple[list[str], int]:
    """Return the statements with another answer, and how many were refused."""
    wrong, refused = [], 0
    with databases(url, 4) as shards, databases(url, 1) as alone, tempfile.TemporaryDirectory() as folder:
        running = Running(sql_cases.document(shards), Path(folder) / "journal")
        with psycopg.connect(running.url, autocommit=True) as ours, psycopg.connect(alone[0], autocommit=True) as one:
            for connection in (ours, one):
                for name, columns in sql_cases.TABLES.items():
                    connection.execute(f"CREATE TABLE {name} ({columns})")
                for statement in sql_cases.rows(seed):
                    connection.execute(statement)
            queries = sql_cases.Queries(seed)
            for n in range(count):
                sql = queries.one()
                mine = sql_compare.ask(ours, sql, extended=n % 2 == 1)
                theirs = sql_compare.ask(one, sql, extended=n % 2 == 1)
                tiers[tier(running, sql)] += 1
                if mine.error == "0A000" and not theirs.error:
                    refused += 1
                elif difference := sql_compare.difference(mine, theirs, ordered=sql_cases.ordered(sql)):
                    wrong.append(f"{sql}\n    {difference}")
        running.stop()
    return wrong, refused


def tier(running: Running, sql: str) -> str:
    """Return the tier a query is planned for."""
    try:
        return tier_of(plan_statement(split(sql)[0], running.router.catalog, ("public",)))
    except Refused:
        return "refused"


if __name__ == "__main__":
    sys.exit(main())
