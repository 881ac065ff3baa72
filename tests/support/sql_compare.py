"""Runs one statement on two servers and tells how the answers differ."""

from __future__ import annotations

import math
from dataclasses import dataclass

import psycopg
from psycopg.pq import ExecStatus


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave: columns (name, type), rows as they came, and the SQLSTATE where it failed."""

    columns: tuple[tuple[bytes, int], ...] = ()
    rows: tuple[tuple[bytes | None, ...], ...] = ()
    tag: bytes = b""
    error: str = ""
    message: str = ""


def ask(connection: psycopg.Connection[object], sql: str, *, extended: bool = False) -> Answer:
    """Run a statement: simple and in text form, or extended and binary."""
    pgconn = connection.pgconn
    result = pgconn.exec_params(sql.encode(), [], result_format=1) if extended else pgconn.exec_(sql.encode())
    if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        code = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"?????"
        return Answer(error=code.decode(), message=result.error_message.decode(errors="replace").strip())
    columns = tuple((result.fname(n) or b"", result.ftype(n)) for n in range(result.nfields))
    rows = tuple(tuple(result.get_value(r, c) for c in range(result.nfields)) for r in range(result.ntuples))
    return Answer(columns, rows, result.command_status or b"")


def difference(ours: Answer, theirs: Answer, *, ordered: bool) -> str:
    """Return how the router's answer differs from PostgreSQL's, nothing when it does not."""
    if theirs.error or ours.error:
        return "" if ours.error == theirs.error else f"error {ours.error} {ours.message!r}, not {theirs.error}"
    if ours.columns != theirs.columns:
        return f"columns {ours.columns}, not {theirs.columns}"
    if ours.tag != theirs.tag:
        return f"tag {ours.tag!r}, not {theirs.tag!r}"
    floats = [oid in (700, 701) for _, oid in ours.columns]
    mine, other = list(ours.rows), list(theirs.rows)
    if not ordered:
        mine, other = sorted(mine, key=repr), sorted(other, key=repr)
    for one, two in zip(mine, other, strict=True):
        for a, b, near in zip(one, two, floats, strict=True):
            if a != b and not (near and a and b and _close(a, b)):
                return f"row {one}, not {two}"
    return ""


def _close(a: bytes, b: bytes) -> bool:
    try:
        return math.isclose(float(a), float(b), rel_tol=1e-12)
    except ValueError:
        return False
