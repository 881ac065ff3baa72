"""Reads a request's body and parses it, never more than a cap of bytes, never deeper than the parser can go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

MAX_BODY_BYTES: Final = 2**20
_STEP: Final = 65536


class Readable(Protocol):
    """A WSGI input stream."""

    def read(self, size: int, /) -> bytes: ...


class BodyError(Exception):
    """The body cannot be taken; the text says why and ``status`` is the HTTP status to answer with."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


def read_body(stream: Readable, declared: int | None, cap: int = MAX_BODY_BYTES) -> bytes:
    """Return the whole body. ``declared`` is the Content-Length, None for a chunked body.

    A body declared longer than ``cap`` bytes is refused before a byte is read, a chunked one as soon as it is
    longer. Raises BodyError.
    """
    if declared is not None and declared > cap:
        raise BodyError(f"the body is longer than {cap} bytes; the poll will find the commit", 413)
    parts: list[bytes] = []
    size = 0
    while declared is None or size < declared:
        try:
            part = stream.read(min(_STEP, cap + 1 - size if declared is None else declared - size))
        except OSError:
            raise BodyError("the body could not be read", 400) from None
        if not part:
            break
        parts.append(part)
        size += len(part)
        if size > cap:
            raise BodyError(f"the body is longer than {cap} bytes; the poll will find the commit", 413)
    if declared is not None and size < declared:
        raise BodyError("the body ended before its declared length", 400)
    return b"".join(parts)


def parse_object(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object that ``body`` is. Raises BodyError (nested too deeply, not JSON, not an object)."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise BodyError("the payload is nested too deeply", 400) from None
    except ValueError:
        raise BodyError("the payload is not JSON in UTF-8", 400) from None
    if not isinstance(value, dict):
        raise BodyError("the payload is not a JSON object", 400)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
