"""How queries are planned: the tier, and what is never taken for local."""

from __future__ import annotations

from typing import Any

import pytest

from automator67.engine.shards.layout import layout_of
from automator67.engine.shards.plan.catalog import Catalog, Column, Relation
from automator67.engine.shards.plan.conditions import shards_of, unbound
from automator67.engine.shards.plan.model import Concatenated, Fan, Gathered, OneShard, Refused, Rows, tier_of
from automator67.engine.shards.plan.planner import plan_statement
from automator67.engine.shards.plan.statements import split

DOCUMENT: dict[str, Any] = {
    "shards": [{"name": f"s{n}", "url": f"postgresql://u:p@h{n}/d"} for n in range(4)],
    "tables": {
        "orders": {"strategy": "hash", "key": "customer"},
        "lines": {"strategy": "hash", "key": "customer", "with": "orders"},
        "kinds": {"strategy": "everywhere"},
        "zones": {"strategy": "range", "key": "zone", "ranges": [{"below": 10, "shard": "s0"}, {"shard": "s1"}]},
    },
}


def relation(name: str, *columns: tuple[str, int], kind: str = "r", **more: Any) -> Relation:
    return Relation("public", name, kind, tuple(Column(n, oid) for n, oid in columns), **more)


RELATIONS = [
    relation("orders", ("id", 23), ("customer", 20), ("region", 25), ("amount", 1700)),
    relation("lines", ("customer", 20), ("n", 23), ("price", 1700)),
    relation("kinds", ("k", 23), ("name", 25)),
    relation("zones", ("zone", 23), ("label", 25)),
    relation("alone", ("a", 23)),
    relation("summary", ("customer", 20), kind="v", reads=frozenset({("public", "orders")})),
]
CATALOG = Catalog(
    layout_of("shop", DOCUMENT),
    {(r.schema, r.name): r for r in RELATIONS},
    functions=frozenset({"peek"}),
    steady=frozenset({"count", "sum", "avg", "min", "max", "lower", "abs", "row_number", "string_agg"}),
    aggregates=frozenset({"count", "sum", "avg", "min", "max", "string_agg"}),
)


def plan(sql: str) -> Any:
    return plan_statement(split(sql)[0], CATALOG, ("public",))


def where(sql: str) -> set[int]:
    """Return the shards a statement goes to, by whatever plan."""
    found = plan(sql)
    if isinstance(found, OneShard) and found.fixed is None:
        found = found.candidates[0]
    elif isinstance(found, (Concatenated, Fan)):
        found = found.where
    return set(shards_of(found, CATALOG.layout, unbound))


TIERS = [
    ("select 1", "one shard"),
    ("select * from alone", "one shard"),
    ("select * from kinds", "one shard"),
    ("select * from orders where customer = 1", "one shard"),
    ("select * from orders o join lines l on l.customer = o.customer where o.customer = 5", "one shard"),
    ("select * from orders", "concatenated"),
    ("select * from orders o join lines l on l.customer = o.customer", "concatenated"),
    ("select * from orders o left join kinds k on k.k = o.id", "concatenated"),
    ("select customer, count(*) from orders group by customer", "concatenated"),
    ("select id from orders order by id", "merged"),
    ("select count(*), avg(amount) from orders", "partial aggregates"),
    ("select region, sum(amount) from orders group by region having count(*) > 1", "partial aggregates"),
    ("select distinct region from orders", "partial aggregates"),
    # What naive routers get wrong.
    ("select * from orders o join lines l on l.n = o.id", "gathered"),
    ("select * from kinds k left join orders o on k.k = o.id", "gathered"),
    ("select * from kinds k full join orders o on k.k = o.id", "gathered"),
    ("select count(distinct region) from orders", "gathered"),
    ("select count(*) from (select region from orders group by region) x", "gathered"),
    ("select id, row_number() over (order by id) from orders", "gathered"),
    ("select * from orders limit 5 offset 10", "gathered"),
    ("select * from orders where id in (select n from lines)", "gathered"),
    ("select * from orders where customer not in (select customer from lines)", "gathered"),
    ("select now(), id from orders", "gathered"),
    ("select id from orders where region < 'now'::text and random() < 0.5", "gathered"),
    ("select * from orders where amount > (select avg(amount) from orders)", "gathered"),
    ("with w as (select region, count(*) c from orders group by region) select max(c) from w", "gathered"),
    ("select region from orders union select label from zones", "gathered"),
    ("select * from orders, alone", "gathered"),
    ("with orders as (select * from orders where customer = 1) select * from orders", "one shard"),
    ("select id from orders group by id, region", "partial aggregates"),
    (
        "select region from orders o left join lines l using (customer) group by l.customer, region",
        "partial aggregates",
    ),
]


@pytest.mark.parametrize(("sql", "tier"), TIERS, ids=[sql[:60] for sql, _ in TIERS])
def test_the_tier_of_a_query(sql: str, tier: str) -> None:
    assert tier_of(plan(sql)) == tier


def test_exists_by_the_key_is_local_and_by_another_column_is_not() -> None:
    by_key = "select * from orders o where exists (select 1 from lines l where l.customer = o.customer)"
    by_other = "select * from orders o where exists (select 1 from lines l where l.n = o.id)"
    assert tier_of(plan(by_key)) == "concatenated"
    assert tier_of(plan(by_other)) == "gathered"


ONE = "select * from orders where customer = 1"


@pytest.mark.parametrize(
    "sql",
    [
        "select * from orders where 1 = customer", "select * from orders where customer = '1'",
        "select * from orders where customer = 1::int", "select * from orders where (customer) = (1)",
        "select * from orders where customer = +1", "select * from orders where customer in (1)",
        "select * from orders where (customer, id) = (1, 2)", "select * from public.orders o where o.customer = 1",
        "delete from orders where customer = 1", "update orders set region = 'x' where customer = 1 and id = 3",
    ],
)  # fmt: skip
def test_ways_to_write_one_key(sql: str) -> None:
    if "+1" in sql:
        # Not understood as a constant: all shards, never a wrong one.
        assert where(sql) in ({*range(4)}, where(ONE))
    else:
        assert where(sql) == where(ONE)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from orders where customer = 1 or id = 2", "select * from orders where customer <> 1",
        "select * from orders where not customer = 1", "select * from orders where customer = 1.0",
        "select * from orders where customer::text = '1'", "select * from orders where customer in (1, id)",
        "select * from orders where customer is null", "select * from orders where abs(customer) = 1",
    ],
)  # fmt: skip
def test_what_does_not_bind_the_key_goes_to_all_shards(sql: str) -> None:
    assert where(sql) == {0, 1, 2, 3}


def test_in_lists_are_sets_of_shards() -> None:
    several = where("select * from orders where customer in (1, 2, 3, 4, 5, 6, 7, 8)")
    assert several == set().union(*(where(f"select * from orders where customer = {n}") for n in range(1, 9)))
    assert len(several) > 1


def test_contradictions_need_no_shard() -> None:
    one, other = (
        next(n for n in range(99) if where(f"select * from orders where customer = {n}") == {s}) for s in (0, 1)
    )
    assert where(f"select * from orders where customer = {one} and customer = {other}") == set()


@pytest.mark.parametrize(
    ("condition", "shards"),
    [("zone < 5", {0}), ("zone >= 10", {1}), ("zone between 5 and 9", {0}), ("zone > 3", {0, 1}), ("3 > zone", {0})],
)
def test_ranges_are_pruned(condition: str, shards: set[int]) -> None:
    assert where(f"select * from zones where {condition}") == shards


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("select * from summary", "view summary reads orders"),
        ("select peek(1)", "function peek may read tables"),
        ("select * from orders for update", "FOR UPDATE"),
        ("select ctid from orders", "ctid"),
        ("update orders set customer = 2 where customer = 1", "decides the shard"),
        ("insert into orders (id) values (1)", "no value for customer"),
        ("insert into orders (customer) values (null)", "cannot be NULL"),
        ("insert into orders (customer) values (random())", "must be a constant"),
        ("insert into orders (customer, id) values (1, 1) on conflict (id) do nothing", "must name the key"),
        ("insert into kinds values (1, now()::text)", "may differ"),
        ("update orders set region = now()::text", "may differ"),
        ("delete from orders using lines l where l.n = orders.id", "another shard"),
        ("with x as (delete from orders returning *) select * from x", "changes rows"),
        ("create temp table x (a int)", "temporary"),
        ("truncate orders, alone", "one statement"),
        ("select set_config('search_path', '', false)", "set_config"),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_reason(sql: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        plan(sql)


def test_rows_of_an_insert_are_cut_apart_as_they_were_written() -> None:
    found = plan("insert into orders values (1, $1, 'it''s (', $2), (2,3,E'a\\'b',f(4)) returning id")
    assert isinstance(found, Rows)
    assert found.rows == ("(1, $1, 'it''s (', $2)", "(2,3,E'a\\'b',f(4))")
    assert found.tail == " returning id"


def test_only_the_columns_that_are_named_are_pulled() -> None:
    found = plan("select o.id from orders o join lines l on l.n = o.id")
    assert isinstance(found, Gathered)
    assert {f.name: f.select for f in found.fragments} == {
        "orders": 'SELECT "id" FROM "public"."orders"',
        "lines": 'SELECT "n" FROM "public"."lines"',
    }


@pytest.mark.parametrize(
    "sql",
    [
        "create table orders (id int)", "create index on orders (id)", "alter table lines add x int", "truncate kinds",
        "drop table if exists orders, lines", "create type t as enum ('a')",
    ],
)  # fmt: skip
def test_ddl_of_declared_tables_is_for_every_shard(sql: str) -> None:
    found = plan(sql)
    assert isinstance(found, Fan)
    assert found.copy


def test_ddl_of_other_tables_is_for_the_default_shard() -> None:
    assert plan("create table other (id int)").fixed == 0


def test_parameters_are_not_taken_for_dollar_quotes() -> None:
    words = [token.text for token in split("select $1,$1,$2")[0].tokens]
    assert words == ["select", "$", "1", ",", "$", "1", ",", "$", "2"]
    assert [s.text for s in split("select $a$; $b$ ' $a$; select 2")] == ["select $a$; $b$ ' $a$", " select 2"]
