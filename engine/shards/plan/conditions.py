"""Which shards can have the rows that a condition on shard keys lets through. Pure.

A condition is made once per statement and evaluated for each execution with the values of its parameters. It never
leaves out a shard that has a row: what is not understood means all shards.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from automator67.engine.shards.keys import Key, from_text
from automator67.engine.shards.layout import Layout, Table

_CASTS = {
    "integer": {exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT},
    "text": {exp.DType.TEXT, exp.DType.VARCHAR},
    "char": set[exp.DType](),
    "uuid": {exp.DType.UUID},
}
_NUMBER = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Constant:
    """A value in the text; None is NULL."""

    text: str | None


@dataclass(frozen=True, slots=True)
class Parameter:
    """The parameter ``$number``."""

    number: int


Value = Constant | Parameter


@dataclass(frozen=True, slots=True)
class Everything:
    """All shards."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The rows whose key is one of ``values``; each is as long as the key."""

    table: Table
    families: tuple[str, ...]
    values: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class Span:
    """The rows whose key is from ``low`` to ``high``; None for no limit."""

    table: Table
    family: str
    low: Value | None
    high: Value | None


@dataclass(frozen=True, slots=True)
class AllOf:
    """What all parts let through."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """What one of the parts lets through."""

    parts: tuple[Condition, ...]


Condition = Everything | Keys | Span | AllOf | AnyOf
Read = Callable[[Parameter, str], Key | None]
"""Gives the key that a parameter means for a family. Raises IsNull when it is NULL; None: not surely one value."""


class IsNull(Exception):
    """A parameter is NULL: nothing equals it."""


def unbound(parameter: Parameter, family: str) -> Key | None:  # noqa: ARG001 - a Read
    """Know no parameter."""
    return None


def shards_of(condition: Condition, layout: Layout, read: Read) -> frozenset[int]:
    """Return the shards that can have rows."""
    match condition:
        case Everything():
            return layout.every
        case Keys():
            return frozenset().union(*(_of_key(condition, values, layout, read) for values in condition.values))
        case Span():
            try:
                low, high = (_key(v, condition.family, read) if v else None for v in (condition.low, condition.high))
            except IsNull:
                return frozenset()
            return layout.between(condition.table, condition.family, low, high)
        case AllOf():
            return layout.every.intersection(*(shards_of(part, layout, read) for part in condition.parts))
        case AnyOf():
            return frozenset().union(*(shards_of(part, layout, read) for part in condition.parts))


def _of_key(keys: Keys, values: tuple[Value, ...], layout: Layout, read: Read) -> frozenset[int]:
    try:
        found = [_key(v, family, read) for v, family in zip(values, keys.families, strict=True)]
    except IsNull:
        return frozenset()
    known = [key for key in found if key is not None]
    if len(known) < len(found):
        return layout.every
    place = layout.place(keys.table, keys.families, known)
    return frozenset() if place is None else frozenset((place,))


def _key(value: Value, family: str, read: Read) -> Key | None:
    if isinstance(value, Parameter):
        return read(value, family)
    if value.text is None:
        raise IsNull
    return from_text(family, value.text)


def value_of(node: exp.Expr | None, family: str) -> Value | None:
    """Return the value an expression is, where it is one that can be compared with a key of ``family``."""
    match node:
        case exp.Paren():
            return value_of(node.this, family)
        case exp.Null():
            return Constant(None)
        case exp.Literal():
            text = str(node.this)
            # A number that is no whole number makes PostgreSQL compare as numeric.
            return Constant(text) if node.is_string or _NUMBER.fullmatch(text) else None
        case exp.Neg(this=exp.Literal()):
            inner = value_of(node.this, family)
            negative = isinstance(inner, Constant) and not node.this.is_string
            return Constant(f"-{node.this.this}") if negative else None
        case exp.Parameter(this=exp.Literal()):
            return Parameter(int(node.this.this))
        case exp.Cast():
            to = node.args["to"]
            if to.this in _CASTS[family] and not to.expressions and type(node) is exp.Cast:
                return value_of(node.this, family)
    return None
