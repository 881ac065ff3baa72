"""Reads from a shard's catalogs what tables, views and functions it has."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from automator67.engine.shards.layout import Layout
from automator67.engine.shards.plan.catalog import Catalog, Column, Relation
from automator67.engine.shards.wire.backend import Backend

_OURS = "n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_t%'"

_RELATIONS = f"""
select n.nspname, c.relname, c.relkind,
  coalesce((select json_agg(json_build_array(a.attname, a.atttypid::int8,
      coalesce(l.collcollate = 'C' or l.collname in ('C', 'POSIX')
        or (l.collprovider = 'd' and d.datcollate = 'C' and d.datlocprovider = 'c'), true),
      coalesce(l.collisdeterministic, true),
      coalesce(a.attidentity <> '' or pg_get_expr(f.adbin, f.adrelid) like 'nextval(%', false)) order by a.attnum)
    from pg_attribute a left join pg_collation l on l.oid = a.attcollation
      left join pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
      join pg_database d on d.datname = current_database()
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '[]'),
  coalesce((select json_agg(a.attname) from pg_index i join pg_attribute a on a.attrelid = i.indrelid
    and a.attnum = any(i.indkey) where i.indrelid = c.oid and i.indisprimary), '[]'),
  coalesce((select jsonb_agg(distinct jsonb_build_array(n2.nspname, c2.relname)) from pg_rewrite r
    join pg_depend p on p.classid = 'pg_rewrite'::regclass and p.objid = r.oid
      and p.refclassid = 'pg_class'::regclass and p.refobjid <> c.oid
    join pg_class c2 on c2.oid = p.refobjid join pg_namespace n2 on n2.oid = c2.relnamespace
    where r.ev_class = c.oid),
    (select json_agg(json_build_array(n3.nspname, c3.relname)) from pg_index i2 join pg_class c3 on c3.oid = i2.indrelid
      join pg_namespace n3 on n3.oid = c3.relnamespace where i2.indexrelid = c.oid)::jsonb, '[]')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where {_OURS} and c.relkind in ('r', 'p', 'v', 'm', 'f', 'i', 'I')
"""  # noqa: S608 - made of constants alone

_STEADY = """
select proname, bool_or(prokind = 'a') from pg_proc where pronamespace = 'pg_catalog'::regnamespace group by proname
having bool_and(provolatile = 'i') or bool_or(prokind in ('a', 'w'))
"""
"""Functions that give the same everywhere, and aggregates."""

_FUNCTIONS = f"""
select distinct p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  join pg_language l on l.oid = p.prolang
where {_OURS} and (p.prokind = 'a' or l.lanname not in ('c', 'internal')) and p.provolatile <> 'i'
union select distinct p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where {_OURS} and p.prokind = 'a'
"""  # noqa: S608 - made of constants alone


async def read_catalog(layout: Layout, backend: Backend) -> Catalog:
    """Return what the shard behind ``backend`` has. Raises ShardError."""
    relations = {(r.schema, r.name): r for r in await read_relations(backend)}
    functions = {str(row[0]) for row in (await backend.run(_FUNCTIONS)).rows}
    known = (await backend.run(_STEADY)).rows
    steady, aggregates = (frozenset(str(row[0]) for row in known if row[1] in ok) for ok in (("f", "t"), ("t",)))
    schemas = frozenset(str(row[0]) for row in (await backend.run("SELECT nspname FROM pg_namespace")).rows)
    return Catalog(layout, _through_views(relations), frozenset(functions), steady, aggregates, schemas)


async def read_relations(backend: Backend) -> list[Relation]:
    """Return the tables and views of one shard. Raises ShardError."""
    return [_relation(row) for row in (await backend.run(_RELATIONS)).rows]


def _relation(row: list[str | None]) -> Relation:
    schema, name, kind, columns, primary, reads = (str(cell) for cell in row)
    parsed: Iterable[Any] = json.loads(columns)
    return Relation(
        schema, name, kind,
        tuple(Column(c[0], c[1], c[2], c[3], c[4]) for c in parsed),
        tuple(json.loads(primary)),
        frozenset((s, n) for s, n in json.loads(reads)),
    )  # fmt: skip


def _through_views(relations: dict[tuple[str, str], Relation]) -> dict[tuple[str, str], Relation]:
    def tables(name: tuple[str, str], seen: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        relation = relations.get(name)
        if relation is None or name in seen:
            return frozenset()
        if not relation.reads:
            return frozenset((name,))
        return frozenset().union(*(tables(other, seen | {name}) for other in relation.reads))

    return {
        name: Relation(
            r.schema, r.name, r.kind, r.columns, r.primary, tables(name, frozenset()) if r.reads else r.reads
        )
        for name, r in relations.items()
    }
