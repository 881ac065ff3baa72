"""What every place for sealed data can do, whatever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol


class ProviderError(Exception):
    """A provider did not do what was asked; one line for a person.

    ``kind``: ``missing`` (no such blob), ``full``, ``refused`` (credentials, rights) or ``away`` (all that may pass).
    """

    def __init__(self, kind: Literal["missing", "full", "refused", "away"], text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob in a listing."""

    name: str
    size: int


class Provider(Protocol):
    """A place for blobs. Names are made here (``layout.py``): ASCII letters, digits, hyphens, dots and slashes.

    Every method may raise ProviderError. A blob is written once, whole, and never changed.
    """

    name: str

    async def put(self, name: str, data: bytes) -> None:
        """Keep a blob; when this returns it is there to stay. The same blob may be put again."""

    async def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a blob, or ``length`` bytes of it from ``start``; fewer where it ends before."""

    async def delete(self, name: str) -> None:
        """Remove a blob; one that is not there is fine."""

    def list(self, prefix: str, after: str = "") -> AsyncIterator[Stored]:
        """Yield the blobs whose names begin with ``prefix`` and come after ``after``, in no certain order."""
