"""Messages of PostgreSQL's protocol: building them, and reading those the router must understand. Pure.

A message here is whole: its type byte, its length, its body (PostgreSQL documentation, "Message Formats").
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST, VERSION_3 = 80877103, 80877104, 80877102, 196608

PARSE_COMPLETE = b"1\0\0\0\4"
BIND_COMPLETE = b"2\0\0\0\4"
CLOSE_COMPLETE = b"3\0\0\0\4"
NO_DATA = b"n\0\0\0\4"
EMPTY_QUERY = b"I\0\0\0\4"
SUSPENDED = b"s\0\0\0\4"
SYNC = b"S\0\0\0\4"
FLUSH = b"H\0\0\0\4"
COPY_DONE = b"c\0\0\0\4"
TERMINATE = b"X\0\0\0\4"

_INT, _SHORT = struct.Struct(">i"), struct.Struct(">h")


class Malformed(Exception):
    """A message is not what the protocol says it is."""


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Return a message of one type."""
    return kind + _INT.pack(len(body) + 4) + body


def cstring(text: str | bytes) -> bytes:
    """Return text as the protocol has it: UTF-8 and a zero byte."""
    return (text.encode("utf-8", "replace") if isinstance(text, str) else text).replace(b"\0", b"") + b"\0"


def query(sql: str | bytes) -> bytes:
    """Return Query."""
    return message(b"Q", cstring(sql))


def parse(name: bytes, sql: str | bytes, oids: Sequence[int] = ()) -> bytes:
    """Return Parse; ``oids`` are the types of the first parameters, 0 for one that is not said."""
    return message(b"P", name + b"\0" + cstring(sql) + _SHORT.pack(len(oids)) + struct.pack(f">{len(oids)}I", *oids))


def bind(portal: bytes, statement: bytes, tail: bytes = b"\0\0\0\0\0\0") -> bytes:
    """Return Bind; ``tail`` is all that follows the names: formats, values, result formats."""
    return message(b"B", portal + b"\0" + statement + b"\0" + tail)


def describe(kind: bytes, name: bytes) -> bytes:
    """Return Describe of a statement (``S``) or a portal (``P``)."""
    return message(b"D", kind + name + b"\0")


def close(kind: bytes, name: bytes) -> bytes:
    """Return Close of a statement (``S``) or a portal (``P``)."""
    return message(b"C", kind + name + b"\0")


def execute(portal: bytes, limit: int = 0) -> bytes:
    """Return Execute for at most ``limit`` rows, 0 for all."""
    return message(b"E", portal + b"\0" + _INT.pack(limit))


def ready(status: bytes) -> bytes:
    """Return ReadyForQuery: ``I`` idle, ``T`` in a transaction, ``E`` in a failed one."""
    return message(b"Z", status)


def complete(tag: str) -> bytes:
    """Return CommandComplete."""
    return message(b"C", cstring(tag))


def parameter(name: str, value: str) -> bytes:
    """Return ParameterStatus."""
    return message(b"S", cstring(name) + cstring(value))


def error(
    code: str, text: str, *, detail: str = "", hint: str = "", position: int = 0, severity: str = "ERROR"
) -> bytes:
    """Return ErrorResponse with these fields (a NoticeResponse differs in its type byte only)."""
    fields = [(b"S", severity), (b"V", severity), (b"C", code), (b"M", text)]
    fields += [(b"D", detail)] * bool(detail) + [(b"H", hint)] * bool(hint) + [(b"P", str(position))] * bool(position)
    return message(b"E", b"".join(k + cstring(v) for k, v in fields) + b"\0")


def error_fields(data: bytes) -> dict[str, str]:
    """Return the fields of an ErrorResponse or NoticeResponse by their letters."""
    parts = data[5:].rstrip(b"\0").split(b"\0")
    return {chr(p[0]): p[1:].decode("utf-8", "replace") for p in parts if p}


def tag_of(data: bytes) -> str:
    """Return the command tag of a CommandComplete."""
    return data[5:-1].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a RowDescription. ``type`` is an OID; ``modifier`` is -1 where there is none."""

    name: str
    type: int
    modifier: int
    table: int = 0
    column: int = 0
    size: int = -1


def row_description(fields: Sequence[Field], formats: Sequence[int] = ()) -> bytes:
    """Return RowDescription; ``formats`` as in Bind: none for text, one for all, or one for each."""
    every = formats_of(formats, len(fields))
    body = b"".join(
        cstring(f.name) + struct.pack(">IhIhih", f.table, f.column, f.type, f.size, f.modifier, every[n])
        for n, f in enumerate(fields)
    )
    return message(b"T", _SHORT.pack(len(fields)) + body)


def fields_of(data: bytes) -> list[Field]:
    """Return the columns of a RowDescription (none of a NoData)."""
    found: list[Field] = []
    if data[:1] != b"T":
        return found
    at = 7
    for _ in range(_SHORT.unpack_from(data, 5)[0]):
        end = data.index(0, at)
        table, column, oid, size, modifier, _ = struct.unpack_from(">IhIhih", data, end + 1)
        found.append(Field(data[at:end].decode("utf-8", "replace"), oid, modifier, table, column, size))
        at = end + 19
    return found


def formats_of(formats: Sequence[int], count: int) -> list[int]:
    """Return one format (0 text, 1 binary) for each of ``count`` values. Raises Malformed."""
    if len(formats) not in (0, 1, count):
        raise Malformed(f"{len(formats)} formats for {count} values")
    return list(formats) if len(formats) == count and count != 1 else [formats[0] if formats else 0] * count


def rows_of(run: bytes) -> Iterator[bytes]:
    """Yield the DataRow messages of a run of them."""
    at, end = 0, len(run)
    while at < end:
        size = _INT.unpack_from(run, at + 1)[0] + 1
        yield run[at : at + size]
        at += size


def values_of(row: bytes) -> list[bytes | None]:
    """Return the values of a DataRow message."""
    found: list[bytes | None] = []
    at = 7
    for _ in range(_SHORT.unpack_from(row, 5)[0]):
        size = _INT.unpack_from(row, at)[0]
        at += 4
        found.append(None if size < 0 else row[at : at + size])
        at += max(size, 0)
    return found


def data_row(values: Iterable[bytes | None]) -> bytes:
    """Return DataRow."""
    cells = [_INT.pack(-1) if v is None else _INT.pack(len(v)) + v for v in values]
    return message(b"D", _SHORT.pack(len(cells)) + b"".join(cells))


@dataclass(frozen=True, slots=True)
class Bind:
    """A Bind message: names, the formats and values of parameters, result formats; ``tail`` is all but the names."""

    portal: bytes
    statement: bytes
    formats: tuple[int, ...]
    values: tuple[bytes | None, ...]
    results: tuple[int, ...]
    tail: bytes


def read_bind(body: bytes) -> Bind:
    """Read the body of a Bind. Raises Malformed."""
    try:
        first = body.index(0)
        second = body.index(0, first + 1)
        tail, at = body[second + 1 :], 0
        count = _SHORT.unpack_from(tail, at)[0]
        formats = struct.unpack_from(f">{count}h", tail, 2)
        at = 2 + 2 * count
        values: list[bytes | None] = []
        count = struct.unpack_from(">H", tail, at)[0]
        at += 2
        for _ in range(count):
            size = _INT.unpack_from(tail, at)[0]
            at += 4
            if size > len(tail) - at:
                raise Malformed("a parameter is longer than its message")
            values.append(None if size < 0 else tail[at : at + size])
            at += max(size, 0)
        count = _SHORT.unpack_from(tail, at)[0]
        results = struct.unpack_from(f">{count}h", tail, at + 2)
    except (struct.error, ValueError) as trouble:
        raise Malformed("Bind is cut short") from trouble
    formats_of(formats, len(values))
    return Bind(body[:first], body[first + 1 : second], formats, tuple(values), results, tail)


def parameter_of(tail: bytes, n: int, count: int) -> tuple[bytes | None, bool]:
    """Return the n-th of ``count`` parameters of a Bind, and whether it is binary. Raises Malformed."""
    try:
        formats = _SHORT.unpack_from(tail, 0)[0]
        at = 4 + 2 * formats
        binary = formats > 0 and tail[3 + 2 * (n if formats > 1 else 0)] == 1
        if _SHORT.unpack_from(tail, at - 2)[0] != count:
            raise Malformed("another number of parameters")
        for _ in range(n):
            at += 4 + max(_INT.unpack_from(tail, at)[0], 0)
        size = _INT.unpack_from(tail, at)[0]
    except (struct.error, IndexError) as trouble:
        raise Malformed("Bind is cut short") from trouble
    return (None if size < 0 else tail[at + 4 : at + 4 + size]), binary


def results_of(tail: bytes) -> bytes:
    """Return the part of a Bind that says the formats of results. Raises Malformed."""
    try:
        at = 4 + 2 * _SHORT.unpack_from(tail, 0)[0]
        for _ in range(_SHORT.unpack_from(tail, at - 2)[0]):
            at += 4 + max(_INT.unpack_from(tail, at)[0], 0)
        if len(tail) != at + 2 + 2 * _SHORT.unpack_from(tail, at)[0]:
            raise Malformed("Bind has another length than it says")
    except struct.error as trouble:
        raise Malformed("Bind is cut short") from trouble
    return tail[at:]


def bind_tail(values: Sequence[bytes | None], formats: Sequence[int], results: Sequence[int]) -> bytes:
    """Return what follows the names in a Bind."""
    cells = b"".join(_INT.pack(-1) if v is None else _INT.pack(len(v)) + v for v in values)
    return (
        _SHORT.pack(len(formats)) + struct.pack(f">{len(formats)}h", *formats) + struct.pack(">H", len(values)) + cells
        + _SHORT.pack(len(results)) + struct.pack(f">{len(results)}h", *results)
    )  # fmt: skip


def read_parse(body: bytes) -> tuple[bytes, str, tuple[int, ...]]:
    """Return name, text and parameter types of the body of a Parse. Raises Malformed."""
    try:
        first = body.index(0)
        second = body.index(0, first + 1)
        count = struct.unpack_from(">H", body, second + 1)[0]
        oids = struct.unpack_from(f">{count}I", body, second + 3)
        return body[:first], body[first + 1 : second].decode(), oids
    except (struct.error, ValueError) as trouble:
        raise Malformed("Parse is cut short or no UTF-8") from trouble
