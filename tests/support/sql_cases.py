"""Random tables, rows and queries for comparing the router with one PostgreSQL. Everything follows from a seed."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

TABLES = {
    "orders": "id int primary key, customer bigint not null, region text, amount numeric(12,2), qty int, ok bool, "
    "day date",
    "lines": "customer int not null, n int, price numeric, weight float8, note varchar(20)",
    "places": "town text not null, people int, size bigint",
    "zones": "zone int not null, label text, level int",
    "kinds": "k int primary key, name text, factor int",
    "alone": "a int, b text",
}
"""By hash on customer (orders, lines) and town (places), by range on zone, everywhere (kinds), on one shard (alone)."""

SCHEMA = {
    "orders": {"strategy": "hash", "key": "customer"},
    "lines": {"strategy": "hash", "key": "customer", "with": "orders"},
    "places": {"strategy": "hash", "key": "town"},
    "zones": {"strategy": "range", "key": "zone", "ranges": [{"below": 10, "shard": "s0"}, {"shard": "s1"}]},
    "kinds": {"strategy": "everywhere"},
}
COLUMNS = {
    "orders": {"id": "int", "customer": "int", "region": "text", "amount": "num", "qty": "int", "ok": "bool",
               "day": "date"},
    "lines": {"customer": "int", "n": "int", "price": "num", "weight": "float", "note": "text"},
    "places": {"town": "text", "people": "int", "size": "int"},
    "zones": {"zone": "int", "label": "text", "level": "int"},
    "kinds": {"k": "int", "name": "text", "factor": "int"},
    "alone": {"a": "int", "b": "text"},
}  # fmt: skip
_WORDS = ["north", "south", "Ost", "west", "", "Äther", "a b", "zz", "it''s"]


def document(urls: list[str]) -> dict[str, Any]:
    """Return the declaration over these databases; the last one has no slots to speak of, so it stays empty."""
    shards = [{"name": f"s{n}", "url": url} for n, url in enumerate(urls)]
    shards[-1] |= {"weight": 0.000001}
    return {"shards": shards, "tables": SCHEMA}


def rows(seed: int) -> Iterator[str]:
    """Yield the INSERT statements that fill the tables."""
    rng = random.Random(seed)

    def value(kind: str) -> str:
        if rng.random() < 0.12:
            return "NULL"
        return {
            "int": lambda: str(rng.randint(-3, 12)),
            "num": lambda: rng.choice(["1.0", "1.25", "2.5", "-0.01", "100.10", "7"]),
            "float": lambda: rng.choice(["0.5", "1.25", "-2", "1e3"]),
            "text": lambda: f"'{rng.choice(_WORDS)}'",
            "bool": lambda: rng.choice(["true", "false"]),
            "date": lambda: f"'2024-0{rng.randint(1, 3)}-1{rng.randint(0, 3)}'",
        }[kind]()

    keys = {"orders": "customer", "lines": "customer", "places": "town", "zones": "zone"}
    for table, count in (("orders", 60), ("lines", 50), ("places", 20), ("zones", 15), ("kinds", 6), ("alone", 5)):
        lines = []
        for n in range(count):
            cells = {c: value(kind) for c, kind in COLUMNS[table].items()}
            for column in ("id", "k"):
                if column in cells:
                    cells[column] = str(n)
            while cells.get(keys.get(table, ""), "") == "NULL":
                cells[keys[table]] = value(COLUMNS[table][keys[table]])
            lines.append(f"({', '.join(cells.values())})")
        yield f"INSERT INTO {table} VALUES {', '.join(lines)}"


def ordered(sql: str) -> bool:
    """Whether a query here says in what order its rows come: those that do name every column, by number."""
    return re.search(r" ORDER BY \d", sql) is not None


class Queries:
    """Makes random SELECTs that PostgreSQL accepts, mostly."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def one(self) -> str:
        """Return a query."""
        kind = self._rng.random()
        if kind < 0.08:
            return self._union()
        if kind < 0.14:
            return self._cte()
        return self._select()

    def _union(self) -> str:
        table = self._table()
        column = self._rng.choice(list(COLUMNS[table]))
        word = self._rng.choice(["UNION ALL", "UNION", "INTERSECT", "EXCEPT", "EXCEPT ALL"])
        one = f"SELECT {column} FROM {table}{self._where([(table, table)])}"
        other = f"SELECT {column} FROM {table}{self._where([(table, table)])}"
        return f"{one} {word} {other}"

    def _cte(self) -> str:
        table = self._table()
        column = self._rng.choice([c for c, k in COLUMNS[table].items() if k == "int"] or ["1"])
        inner = f"SELECT {column} AS x, count(*) AS c FROM {table}{self._where([(table, table)])} GROUP BY {column}"
        name = self._rng.choice(["w", table])
        return f"WITH {name} AS ({inner}) SELECT a.x, a.c, b.c FROM {name} a LEFT JOIN {name} b ON a.x = b.x + 1"

    def _table(self) -> str:
        return self._rng.choice(["orders", "orders", "lines", "places", "zones", "kinds", "alone"])

    def _from(self) -> tuple[str, list[tuple[str, str]]]:
        rng = self._rng
        first = self._table()
        sources = [("t0", first)]
        text = f" FROM {first} t0"
        for n in range(1, rng.choice([1, 1, 1, 2, 2, 3])):
            table, alias = self._table(), f"t{n}"
            join = rng.choice(["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
            left, left_table = rng.choice(sources)
            pairs = [("customer", "customer")] if {left_table, table} <= {"orders", "lines"} else []
            ints = [
                (a, b) for a, k in COLUMNS[left_table].items() for b, j in COLUMNS[table].items() if k == j == "int"
            ]
            one, other = rng.choice(pairs * 3 + ints) if pairs or ints else ("", "")
            on = f"{left}.{one} = {alias}.{other}" if one else "true"
            if rng.random() < 0.2 and join in ("JOIN", "LEFT JOIN"):
                on += " AND " + self._condition(alias, table)
            if not one and join != "JOIN":
                join = "JOIN"
            sources.append((alias, table))
            text += f" {join} {table} {alias} ON {on}"
        return text, sources

    def _condition(self, alias: str, table: str) -> str:
        rng = self._rng
        column, kind = rng.choice(list(COLUMNS[table].items()))
        if table in ("orders", "lines") and rng.random() < 0.5:
            column, kind = "customer", "int"
        if table == "zones" and rng.random() < 0.5:
            column, kind = "zone", "int"
        name = f"{alias}.{column}"
        if kind == "int":
            low = rng.randint(-3, 12)
            return rng.choice(
                [
                    f"{name} = {low}", f"{name} IN ({low}, {low + 3}, {low + 5})", f"{name} > {low}",
                    f"{name} <= {low}",
                    f"{name} BETWEEN {low} AND {low + 4}", f"{name} <> {low}", f"{low} = {name}", f"NOT {name} = {low}",
                    f"({name} = {low} OR {name} = {low + 1})", f"{name} = {low}.0", f"{name} = '{low}'",
                    f"{name} IS NULL", f"{name} = {low} AND {name} = {low + 1}", f"({name} + 1) = {low}",
                    f"{name} NOT IN ({low}, NULL)", f"{name}::text = '{low}'", f"{name} = abs({low})",
                ]
            )  # fmt: skip
        if kind == "text":
            word = rng.choice(_WORDS)
            return rng.choice([f"{name} = '{word}'", f"{name} LIKE '%o%'", f"{name} IN ('{word}', 'north')",
                               f"lower({name}) = 'ost'", f"{name} IS NOT NULL"])  # fmt: skip
        if kind == "bool":
            return rng.choice([name, f"NOT {name}", f"{name} IS NULL"])
        if kind == "date":
            return f"{name} >= '2024-02-01'"
        return f"{name} > 1"

    def _where(self, sources: list[tuple[str, str]]) -> str:
        rng = self._rng
        conditions = [self._condition(*rng.choice(sources)) for _ in range(rng.choice([0, 0, 1, 1, 2]))]
        if rng.random() < 0.12:
            conditions.append(self._subquery(*rng.choice(sources)))
        return f" WHERE {rng.choice([' AND ', ' AND ', ' OR ']).join(conditions)}" if conditions else ""

    def _subquery(self, alias: str, table: str) -> str:
        rng = self._rng
        other = self._table()
        ints = [c for c, k in COLUMNS[table].items() if k == "int"]
        theirs = [c for c, k in COLUMNS[other].items() if k == "int"]
        mine, their = f"{alias}.{rng.choice(ints)}", rng.choice(theirs)
        if {table, other} <= {"orders", "lines"} and rng.random() < 0.6:
            mine, their = f"{alias}.customer", "customer"
        return rng.choice(
            [
                f"{mine} IN (SELECT {their} FROM {other})",
                f"{mine} NOT IN (SELECT {their} FROM {other} WHERE {their} > 3)",
                f"EXISTS (SELECT 1 FROM {other} z WHERE z.{their} = {mine})",
                f"NOT EXISTS (SELECT 1 FROM {other} z WHERE z.{their} = {mine})",
                f"{mine} > (SELECT avg(z.{their}) FROM {other} z)",
                f"{mine} = (SELECT max(z.{their}) FROM {other} z WHERE z.{their} = {mine})",
            ]
        )  # fmt: skip

    def _select(self) -> str:
        rng = self._rng
        from_, sources = self._from()
        where = self._where(sources)
        columns = [(f"{a}.{c}", k) for a, t in sources for c, k in COLUMNS[t].items()]
        kind = rng.random()
        if kind < 0.4:
            return self._aggregate(from_, where, columns)
        if kind < 0.5:
            column = rng.choice(columns)[0]
            part = rng.choice(columns)[0]
            function = rng.choice(["count(*)", f"max({column})" if "ok" not in column else "count(*)", "sum(1)"])
            return f"SELECT {column}, {function} OVER (PARTITION BY {part}){from_}{where}"
        picked = rng.sample(columns, min(len(columns), rng.randint(1, 4)))
        items = [name if rng.random() < 0.7 else f"{name} AS c{n}" for n, (name, _) in enumerate(picked)]
        if rng.random() < 0.1:
            items = ["*"]
        elif rng.random() < 0.1:
            items.append("1 + 1")
        distinct = "DISTINCT " if rng.random() < 0.2 else ""
        text = f"SELECT {distinct}{', '.join(items)}{from_}{where}"
        if items != ["*"] and rng.random() < 0.5:
            keys = [
                f"{n + 1}{rng.choice(['', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST'])}" for n in range(len(items))
            ]
            rng.shuffle(keys)
            text += f" ORDER BY {', '.join(keys)}"
            if rng.random() < 0.6:
                text += f" LIMIT {rng.randint(0, 7)}"
                if rng.random() < 0.5:
                    text += f" OFFSET {rng.randint(0, 5)}"
        return text

    def _aggregate(self, from_: str, where: str, columns: list[tuple[str, str]]) -> str:
        rng = self._rng
        groups = [name for name, _ in rng.sample(columns, min(len(columns), rng.choice([0, 1, 1, 2])))]
        items = []
        for _ in range(rng.randint(1, 3)):
            name, kind = rng.choice(columns)
            choices = ["count(*)", f"count({name})", f"count(DISTINCT {name})"]
            if kind in ("int", "num"):
                choices += [f"sum({name})", f"avg({name})", f"min({name})", f"sum({name}) FILTER (WHERE {name} > 1)",
                            f"sum({name} * 2 + 1)", f"coalesce(sum({name}), 0)", f"sum({name}) / nullif(count(*), 0)",
                            f"round(avg({name}), 2)", f"stddev({name})", f"avg({name}) + count(*)",
                            f"sum(DISTINCT {name})"]  # fmt: skip
            if kind in ("text", "date"):
                choices += [f"min({name})", f"max({name})"]
            if kind == "text":
                choices += [f"string_agg({name}, ',' ORDER BY {name})"]
            if kind == "bool":
                choices += [f"bool_and({name})", f"bool_or({name})", f"every({name})"]
            items.append(rng.choice(choices))
        sets = rng.random() < 0.06 and len(groups) > 1
        by = f"ROLLUP ({', '.join(groups)})" if sets else ", ".join(groups)
        if groups and not sets and rng.random() < 0.2:
            by = ", ".join(str(n + 1) for n in range(len(groups)))
        text = f"SELECT {', '.join([*groups, *items])}{from_}{where}{f' GROUP BY {by}' if groups else ''}"
        if rng.random() < 0.25:
            text += f" HAVING count(*) > {rng.randint(0, 3)}"
        if groups and rng.random() < 0.4:
            text += f" ORDER BY {', '.join(str(n + 1) for n in range(len(groups) + len(items)))}"
            if rng.random() < 0.5:
                text += f" LIMIT {rng.randint(1, 5)}"
        return text
