"""One execution of a statement: its text or its bound parameters, as each shard is to get them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b

from automator67.engine.shards.keys import Key, from_parameter, from_text
from automator67.engine.shards.plan.conditions import IsNull, Parameter
from automator67.engine.shards.plans import Described
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import Backend, ShardError

MAX_PREPARED = 500
"""Prepared statements kept on one connection to a shard."""

_FIRST_USER_OID = 16384


@dataclass(slots=True)
class Call:
    """``bound`` is None for a simple query; then ``slots`` are the values that its plan knows as parameters.

    ``portal`` is its name on the shard; ``limit`` the rows of one Execute.

    ``rewritten``: made-up names of its columns may differ from those of the original; ``temporary``: it reads temporary
    tables.
    """

    text: str
    bound: m.Bind | None = None
    described: Described | None = None
    limit: int = 0
    portal: bytes = b""
    rewritten: bool = False
    temporary: bool = False
    resumes: bool = False
    slots: tuple[str, ...] = ()

    @property
    def extended(self) -> bool:
        """Whether it came by the extended protocol: then the client knows the columns already."""
        return self.bound is not None

    def instead(self, text: str) -> Call:
        """Return the same execution of another text, with the same parameters."""
        return replace(self, text=text)

    def over_temporary(self, final: str | None) -> Call:
        """Return the same execution over temporary tables, which no prepared statement outlives."""
        return replace(self, text=final or self.text, rewritten=final is not None, temporary=True)

    def formats(self, count: int) -> list[int]:
        """Return the format of each of ``count`` result columns."""
        return m.formats_of(self.bound.results if self.bound else (), count)

    def messages(self, backend: Backend) -> bytes:
        """Return what is sent to a shard."""
        if self.bound is None:
            return m.query(self.text)
        if self.resumes:
            return m.execute(self.portal, self.limit) + m.SYNC
        oids = self.described.parameters if self.described else ()
        known = _portable(oids)
        name, head = b"", b""
        if backend.pooled or self.temporary or len(self.text) > 8192:
            head = m.parse(b"", self.text, known)
        else:
            name = statement_name(self.text, oids)
            if name not in backend.prepared:
                # Whether an earlier Parse of this name came through is not certain after an error; Close always is.
                head = _room(backend) + m.close(b"S", name) + m.parse(name, self.text, known)
                backend.prepared[name] = None
        asked = m.describe(b"P", self.portal) if head else b""
        return head + m.bind(self.portal, name, self.bound.tail) + asked + m.execute(self.portal, self.limit) + m.SYNC

    def check(self, item: bytes) -> None:
        """Make sure that a shard's columns are those the client was told. Raises ShardError."""
        told = (self.described.fields if self.described else None) or []
        found = m.fields_of(item)
        if [self._shape(f) for f in found] != [self._shape(f) for f in told]:
            raise ShardError("", m.error("0A000", "cached plan must not change result type"))

    def _shape(self, field: m.Field) -> tuple[str, int]:
        return "" if self.rewritten else field.name, field.type if field.type < _FIRST_USER_OID else 0

    def read(self) -> Callable[[Parameter, str], Key | None]:
        """Return what gives the keys that parameters mean."""

        def value(parameter: Parameter, family: str) -> Key | None:
            if parameter.number <= len(self.slots):
                return from_text(family, self.slots[parameter.number - 1])
            bound, described = self.bound, self.described
            if bound is None or described is None or parameter.number > len(bound.values):
                return None
            n = parameter.number - 1
            data = bound.values[n]
            if data is None:
                raise IsNull
            formats = m.formats_of(bound.formats, len(bound.values))
            return from_parameter(family, described.parameters[n], data, formats[n] == 1)

        return value


def _portable(oids: tuple[int, ...]) -> tuple[int, ...]:
    """OIDs of types that people made differ from shard to shard."""
    return tuple(oid if oid < _FIRST_USER_OID else 0 for oid in oids)


@lru_cache(maxsize=MAX_PREPARED)
def statement_name(text: str, oids: tuple[int, ...]) -> bytes:
    """Return the name under which a statement is prepared on connections to shards."""
    return b"a67_" + blake2b(f"{_portable(oids)}{text}".encode(), digest_size=12).hexdigest().encode()


def _room(backend: Backend) -> bytes:
    if len(backend.prepared) < MAX_PREPARED:
        return b""
    oldest = next(iter(backend.prepared))
    del backend.prepared[oldest]
    return m.close(b"S", oldest)
