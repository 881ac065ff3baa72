"""What blobs are called at the providers, and which providers get one. Pure.

BUCKET/marker                    who wrote here, and the bucket's id
BUCKET/chunks/XX/ID              a sealed chunk
BUCKET/log/SEQUENCE-ID           a batch of changes, and the sealed small objects that came with it
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of one bucket."""

    bucket: str

    @property
    def marker(self) -> str:
        """The name of the marker."""
        return f"{self.bucket}/marker"

    @property
    def chunks(self) -> str:
        """The beginning of the names of chunks."""
        return f"{self.bucket}/chunks/"

    @property
    def log(self) -> str:
        """The beginning of the names of batches."""
        return f"{self.bucket}/log/"

    def chunk(self, unique: str) -> str:
        """Return the name of a chunk's blob; ``unique`` is a new id."""
        return f"{self.chunks}{unique[:2]}/{unique}"

    def batch(self, sequence: int, unique: str) -> str:
        """Return the name of a batch's blob; names of later batches sort after it."""
        return f"{self.log}{sequence:012d}-{unique}"


@dataclass(frozen=True, slots=True)
class Room:
    """A provider as seen when a place is sought: its weight and how many bytes it may still take (None: no limit)."""

    weight: float = 1.0
    free: int | None = None
    leaving: bool = False
    """Nothing new goes there, and what is there is to move away."""


def ranked(name: str, size: int, rooms: Mapping[str, Room]) -> list[str]:
    """Return the providers that could take a blob, the best first.

    Weighted rendezvous hashing: each gets its share by weight, and when providers come and go, no more moves than must.
    """
    able = [p for p, room in rooms.items() if not room.leaving and (room.free is None or room.free >= size)]
    return sorted(able, key=lambda p: _score(name, p, rooms[p].weight), reverse=True)


@dataclass(frozen=True, slots=True)
class Todo:
    """What is to be done about the copies of a blob: where to write it, and then where to remove it."""

    write: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


def todo(
    good: Collection[str], bad: Collection[str], order: Sequence[str], replicas: int, *, rebalance: bool = False
) -> Todo:
    """Return what brings a blob to ``replicas`` good copies.

    ``good`` and ``bad`` are the providers that have one; ``order`` those that may have one, the best first. A good copy
    stays where it is, unless its provider is not in ``order`` or, with ``rebalance``, others are better. Nothing is
    removed while there would be too few.
    """
    staying = [p for p in order if p in good]
    best = order if rebalance else [*staying, *(p for p in order if p not in good)]
    chosen = list(best[:replicas])
    write = tuple(p for p in chosen if p not in good)
    enough = len(chosen) >= replicas
    return Todo(write, tuple(sorted(p for p in {*good, *bad} if p not in chosen)) if enough else ())


def _score(name: str, provider: str, weight: float) -> float:
    digest = hashlib.blake2b(f"{provider}\0{name}".encode(), digest_size=8).digest()
    return -weight / math.log((int.from_bytes(digest, "big") + 1) / (2**64 + 2))


def pieces(start: int, end: int, cut: int) -> Iterable[tuple[int, int, int]]:
    """Yield (index, from, to) of the chunks of ``cut`` bytes that hold the bytes ``start`` up to ``end``."""
    for index in range(start // cut, (max(start, end - 1) // cut) + 1 if end > start else start // cut):
        base = index * cut
        yield index, max(start, base) - base, min(end, base + cut) - base
