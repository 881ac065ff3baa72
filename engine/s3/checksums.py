"""Checksums that clients send along: each computed while the data come."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Protocol

from awscrt import checksums as crt


class Sum(Protocol):
    """A checksum in the making."""

    def update(self, data: bytes, /) -> None:
        """Take more data in."""

    def digest(self) -> bytes:
        """Return the checksum of all data so far, as it is sent (big-endian)."""


class _Crc:
    def __init__(self, step: Callable[[bytes, int], int], length: int) -> None:
        self._step, self._length, self._value = step, length, 0

    def update(self, data: bytes, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._length, "big")


ALGORITHMS: Mapping[str, Callable[[], Sum]] = {
    "x-amz-checksum-crc32": lambda: _Crc(crt.crc32, 4),
    "x-amz-checksum-crc32c": lambda: _Crc(crt.crc32c, 4),
    "x-amz-checksum-crc64nvme": lambda: _Crc(crt.crc64nvme, 8),
    "x-amz-checksum-sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "x-amz-checksum-sha256": hashlib.sha256,
}
"""By the name of the header, or of the trailer."""


def encoded(digest: bytes) -> str:
    """Return a checksum as it stands in a header."""
    return base64.b64encode(digest).decode()
