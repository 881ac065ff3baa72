"""What the router knows of the tables on the shards. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from automator67.engine.shards.keys import FAMILIES
from automator67.engine.shards.layout import Layout, Table

SYSTEM_SCHEMAS = ("pg_catalog", "information_schema", "pg_toast")


@dataclass(frozen=True, slots=True)
class Column:
    """A column. ``bytewise``: equal and ordered as its bytes are (collation C); ``fixed``: equal only if the bytes are.

    ``counts`` says that its default is a sequence of the shard's own.
    """

    name: str
    type: int
    bytewise: bool = True
    fixed: bool = True
    counts: bool = False


@dataclass(frozen=True)
class Relation:
    """A table or view. ``reads`` are the tables behind a view, ``primary`` the columns of the primary key."""

    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...]
    primary: tuple[str, ...] = ()
    reads: frozenset[tuple[str, str]] = frozenset()

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by their names."""
        return {column.name: column for column in self.columns}


@dataclass(frozen=True)
class Catalog:
    """One logical database: where tables are and what they are like.

    ``functions`` are the functions of people that may read tables, by name; ``steady`` PostgreSQL's own that give the
    same for the same values, wherever they run; ``aggregates`` those that make one value of many rows.
    """

    layout: Layout
    relations: Mapping[tuple[str, str], Relation] = field(default_factory=dict)
    functions: frozenset[str] = frozenset()
    steady: frozenset[str] = frozenset()
    aggregates: frozenset[str] = frozenset()
    schemas: frozenset[str] = frozenset({"public"})

    def find(self, schema: str, name: str, path: Sequence[str]) -> Relation | None:
        """Return the relation that a name means; without ``schema`` it is looked for along ``path``."""
        for place in [schema] if schema else path:
            if (place, name) in self.relations:
                return self.relations[place, name]
        return None

    def cut(self, relation: Relation) -> Table | None:
        """Return how a relation is cut; None for one that lives on the default shard."""
        return self.layout.table(relation.schema, relation.name)

    def families(self, relation: Relation, table: Table) -> tuple[str, ...]:
        """Return the families of the types of a table's key; ``""`` for one that no value can be routed by."""
        found = []
        for name in table.key:
            column = relation.by_name.get(name)
            found.append(FAMILIES.get(column.type, "") if column is not None and column.fixed else "")
        return tuple(found)

    def group(self, relation: Relation, table: Table) -> tuple[str, ...]:
        """Return what tables have in common whose equal keys are on the same shard."""
        return (table.group, *self.families(relation, table))

    def behind(self, relation: Relation) -> list[Relation]:
        """Return the declared tables that a view reads."""
        found = [self.relations[name] for name in sorted(relation.reads) if name in self.relations]
        return [other for other in found if self.cut(other) is not None]
