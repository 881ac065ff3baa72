"""PostgreSQL's extended hash functions, so that any shard can verify in plain SQL which rows belong to it. Pure.

The algorithm is Bob Jenkins' lookup3 as PostgreSQL's ``hash_bytes_extended`` has it (src/common/hashfn.c); ``int8`` is
``hashint8extended``, ``text`` is ``hashtextextended``, and so on. Results are unsigned 64-bit numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import unpack_from

SLOTS = 4096
"""A key's slot is the low 12 bits of its hash: ``hashint8extended(key, 0) & 4095``."""

_M = 0xFFFFFFFF
_START = 0x9E3779B9 + 3923095


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = (a - c) & _M ^ ((c << 4 | c >> 28) & _M)
    c = (c + b) & _M
    b = (b - a) & _M ^ ((a << 6 | a >> 26) & _M)
    a = (a + c) & _M
    c = (c - b) & _M ^ ((b << 8 | b >> 24) & _M)
    b = (b + a) & _M
    a = (a - c) & _M ^ ((c << 16 | c >> 16) & _M)
    c = (c + b) & _M
    b = (b - a) & _M ^ ((a << 19 | a >> 13) & _M)
    a = (a + c) & _M
    c = (c - b) & _M ^ ((b << 4 | b >> 28) & _M)
    b = (b + a) & _M
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - (b << 14 | b >> 18)) & _M
    a = ((a ^ c) - ((c << 11 | c >> 21) & _M)) & _M
    b = ((b ^ a) - ((a << 25 | a >> 7) & _M)) & _M
    c = ((c ^ b) - ((b << 16 | b >> 16) & _M)) & _M
    a = ((a ^ c) - ((c << 4 | c >> 28) & _M)) & _M
    b = ((b ^ a) - ((a << 14 | a >> 18) & _M)) & _M
    c = ((c ^ b) - ((b << 24 | b >> 8) & _M)) & _M
    return b << 32 | c


def _seeded(length: int, seed: int) -> tuple[int, int, int]:
    a = b = c = (_START + length) & _M
    if seed:
        a = (a + (seed >> 32 & _M)) & _M
        b = (b + (seed & _M)) & _M
        return _mix(a, b, c)
    return a, b, c


def hash_bytes(data: bytes, seed: int = 0) -> int:
    """Return ``hashtextextended(data, seed)`` for a deterministic collation; also ``uuid_hash_extended``."""
    length = len(data)
    a, b, c = _seeded(length, seed)
    at = 0
    while length - at >= 12:
        x, y, z = unpack_from("<III", data, at)
        a, b, c = _mix((a + x) & _M, (b + y) & _M, (c + z) & _M)
        at += 12
    x, y, z = unpack_from("<III", data[at:].ljust(12, b"\0"))
    # The lowest byte of c is the length's: the tail has at most 11 bytes.
    return _final((a + x) & _M, (b + y) & _M, (c + (z << 8)) & _M)


def hash_uint32(value: int, seed: int = 0) -> int:
    """Return ``hash_uint32_extended(value, seed)``; ``hashint4extended`` is this of the low 32 bits."""
    a, b, c = _seeded(4, seed)
    return _final((a + (value & _M)) & _M, b, c)


def hash_int(value: int, seed: int = 0) -> int:
    """Return ``hashint8extended(value, seed)``, which is also that of the same smallint or integer."""
    low, high = value & _M, value >> 32 & _M
    return hash_uint32(low ^ (high if value >= 0 else high ^ _M), seed)


def hash_key(parts: Iterable[int | bytes]) -> int:
    """Return the hash of a key: each part's, seeded with the hash of the parts before it.

    In SQL for the key ``(a, b)``: ``hashint8extended(b, hashint8extended(a, 0))``.
    """
    seed = 0
    for part in parts:
        seed = hash_int(part, seed) if isinstance(part, int) else hash_bytes(part, seed)
    return seed


def slot_of(parts: Iterable[int | bytes]) -> int:
    """Return the slot of a key, from 0 to SLOTS - 1."""
    return hash_key(parts) & (SLOTS - 1)
