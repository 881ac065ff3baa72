"""Values of shard keys: from what a statement says to the one form that is hashed, compared and looked up. Pure.

Whole numbers are ``int``, everything else ``bytes``. A value that does not surely equal one of the key's type gives
None; then the statement goes to all shards instead of one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

Key = int | bytes

_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,20})\s*", re.ASCII)
_UUID = re.compile(r"(?:[0-9a-f]{4}-?){7}[0-9a-f]{4}", re.ASCII | re.IGNORECASE)
_INT8 = range(-(2**63), 2**63)
_WIDTHS = {21: ">h", 23: ">i", 20: ">q"}

FAMILIES = {
    20: "integer", 21: "integer", 23: "integer", 25: "text", 1043: "text", 1042: "char", 2950: "uuid",
}  # fmt: skip
"""Types of columns that can be keys, by OID: all types of a family hash alike for equal values."""

SQL_HASH = {
    "integer": "hashint8extended({}::int8, {})",
    "text": "hashtextextended({}::text, {})",
    "char": "hashtextextended(rtrim({}::text, ' '), {})",
    "uuid": "uuid_hash_extended({}, {})",
}
"""How a shard computes the same hash in SQL: the column and the seed are filled in."""


def _integer(text: str) -> Key | None:
    found = _INTEGER.fullmatch(text)
    value = int(found[1]) if found else None
    return value if value is not None and value in _INT8 else None


def _text(text: str) -> Key | None:
    return text.encode()


def _char(text: str) -> Key | None:
    return text.rstrip(" ").encode()


def _uuid(text: str) -> Key | None:
    bare = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    return bytes.fromhex(bare.replace("-", "")) if _UUID.fullmatch(bare) else None


_READERS: dict[str, Callable[[str], Key | None]] = {"integer": _integer, "text": _text, "char": _char, "uuid": _uuid}


def from_text(family: str, text: str) -> Key | None:
    """Return the key that a literal or a parameter in text form means for a column of ``family``."""
    return _READERS[family](text)


def from_parameter(family: str, oid: int, data: bytes, binary: bool) -> Key | None:
    """Return the key that a bound parameter of type ``oid`` means for a column of ``family``."""
    if FAMILIES.get(oid) != family:
        return None
    if not binary:
        try:
            return from_text(family, data.decode())
        except UnicodeDecodeError:
            return None
    if family == "integer":
        form = _WIDTHS[oid]
        return int(struct.unpack(form, data)[0]) if len(data) == struct.calcsize(form) else None
    if family == "uuid":
        return data if len(data) == 16 else None
    return data.rstrip(b" ") if family == "char" else data
