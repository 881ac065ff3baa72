"""The few DNS messages the edge needs: one question in, SRV, A or AAAA records out (RFC 1035, 2782, 6891). Pure."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

A, AAAA, SRV = 1, 28, 33
_IN = 1
_NO_ERROR, _NO_SUCH_NAME = 0, 3
LONGEST = 1232
"""What resolvers read of an answer over UDP."""
_LONGEST_NAME = 255
_HEAD, _RECORD, _SERVICE = 12, 12, 6


class Question(NamedTuple):
    """What is asked; ``raw`` is the question as it came, to be repeated in the answer."""

    id: int
    name: str
    kind: int
    raw: bytes


class Service(NamedTuple):
    """An SRV record: a name and a port; the lowest ``priority`` is tried first."""

    target: str
    port: int
    priority: int = 0


def parse_query(data: bytes) -> Question | None:
    """Return the question in a query, None when it is none that we answer (then say nothing)."""
    try:
        number, flags, questions = struct.unpack_from(">HHH", data)
        if flags & 0x8000 or (flags >> 11) & 0xF or questions != 1:
            return None
        labels: list[str] = []
        at = _HEAD
        while length := data[at]:
            # The second also bounds what the answer repeats.
            if length > 63 or at + 1 + length - _HEAD >= _LONGEST_NAME:
                return None
            labels.append(data[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
        kind, kind_class = struct.unpack_from(">HH", data, at + 1)
        if kind_class != _IN:
            return None
        return Question(number, ".".join(labels).lower(), kind, data[_HEAD : at + 5])
    except (struct.error, IndexError, UnicodeDecodeError):
        return None


def room(name: str, target: str) -> int:
    """Return how many SRV records with targets as long as this one fit into the answer to a question for a name."""
    return (LONGEST - _HEAD - _encoded(name) - 4) // (_RECORD + _SERVICE + _encoded(target))


def _encoded(name: str) -> int:
    return len(name) + 2


def answer(question: Question, records: list[Service] | list[str] | None) -> bytes:
    """Return the answer: services for SRV, addresses for A and AAAA; None: there is no such name.

    Records that do not fit are left out: every record is as good as the others.
    """
    code = _NO_ERROR if records is not None else _NO_SUCH_NAME
    body, count = b"", 0
    for record in records or ():
        data = _data(question.kind, record)
        if data is None:
            continue
        one = struct.pack(">HHHIH", 0xC00C, question.kind, _IN, 0, len(data)) + data
        if _HEAD + len(question.raw) + len(body) + len(one) > LONGEST:
            break
        body, count = body + one, count + 1
    return struct.pack(">HHHHHH", question.id, 0x8580 | code, 1, count, 0, 0) + question.raw + body


def _data(kind: int, record: Service | str) -> bytes | None:
    if isinstance(record, Service):
        # RFC 2782 allows no compression here.
        name = b"".join(bytes([len(p)]) + p for p in (label.encode() for label in record.target.split("."))) + b"\0"
        return struct.pack(">HHH", record.priority, 1, record.port) + name
    family = {A: socket.AF_INET, AAAA: socket.AF_INET6}.get(kind)
    try:
        return socket.inet_pton(family, record) if family else None
    except OSError:
        return None
