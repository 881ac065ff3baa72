"""Keeps the mirror's packs few, so that a fetch costs the same after tens of thousands of others.

Every fetch adds a small pack, every note some loose objects. Small packs are rolled into one, the way git's
geometric repacking does it: each remaining pack holds at least twice as many objects as all smaller ones together,
so an object is rewritten only a logarithmic number of times.

Safe against kill -9 at any point: the new pack is written elsewhere, checked against what it must hold, and moved
in, before anything old is deleted; whatever a killed run leaves behind is either not in use yet or not needed any
more, and goes with the next run.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2

from automator67.engine.durable import sync
from automator67.engine.remote_errors import MirrorFailed
from automator67.engine.repo.exclusive import exclusive
from automator67.engine.repo.mirror import Mirror

MAX_PACKS = 32
MAX_LOOSE = 1000
_GROWTH = 2
_INDEX_MAGIC = b"\xfftOc\x00\x00\x00\x02"


@dataclass(frozen=True, slots=True)
class Repacked:
    """What a repack did: how many packs and loose objects became one pack, of how many objects."""

    packs: int
    loose: int
    objects: int


def to_combine(sizes: Sequence[int], loose: int, max_packs: int = MAX_PACKS, max_loose: int = MAX_LOOSE) -> list[int]:
    """Return which packs (as positions in ``sizes``, their object counts) to roll into one; none when few are there.

    The loose objects count as one more small pack.
    """
    if len(sizes) <= max_packs and loose <= max_loose:
        return []
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    combined, total = 0, loose
    for place, i in enumerate(order):
        if sizes[i] < _GROWTH * total:
            combined = place + 1
        total += sizes[i]
    return order[:combined]


def repack_if_needed(mirror: Mirror) -> Repacked | None:
    """Roll the small packs and the loose objects into one pack when there are many; None when there are not.

    Raises MirrorFailed; the mirror then reads as before.
    """
    if not mirror.path.exists():
        return None
    with exclusive(mirror.path):
        try:
            done = repack(mirror.path)
        except (pygit2.GitError, OSError, KeyError, ValueError) as error:
            raise MirrorFailed(f"the copy of {mirror.name} could not be repacked: {error}") from None
    if done is not None:
        mirror.close_handles()
    return done


def repack(path: Path) -> Repacked | None:
    """Do it for the bare repository at ``path``; nobody else may write to it meanwhile.

    Raises pygit2.GitError, OSError, KeyError or ValueError when the repository is damaged or cannot be written; it
    then reads as before.
    """
    folder = path / "objects"
    if not folder.exists():
        return None
    _clear_leftovers(folder)
    indexes = sorted((folder / "pack").glob("pack-*.idx"))
    loose = _loose_objects(folder)
    old = [indexes[i] for i in to_combine([_count(index) for index in indexes], len(loose))]
    if not old and len(loose) <= MAX_LOOSE:
        return None
    wanted = set(loose).union(*(_object_ids(index) for index in old))
    place = Path(tempfile.mkdtemp(prefix="repack-", dir=folder))
    try:
        new = _write(path, wanted, place)
        # An index makes a pack visible: it comes last and goes first.
        for file in (new.with_suffix(".pack"), new):
            file.rename(folder / "pack" / file.name)
        sync(folder / "pack")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    for index in old:
        if index.name != new.name:
            index.unlink()
            index.with_suffix(".pack").unlink(missing_ok=True)
    for path in loose.values():
        path.unlink(missing_ok=True)
    return Repacked(len(old), len(loose), len(wanted))


def _write(path: Path, wanted: set[bytes], place: Path) -> Path:
    """Write the objects as one pack below ``place`` and return its index. libgit2 hashes each as it indexes it."""
    builder = pygit2.PackBuilder(pygit2.Repository(str(path)))
    builder.set_threads(1)
    for name in sorted(wanted):
        builder.add(pygit2.Oid(raw=name))
    builder.write(str(place))
    indexes = list(place.glob("*.idx"))
    if len(indexes) != 1 or _object_ids(indexes[0]) != wanted:
        raise ValueError("the new pack lacks objects; the old ones stay")
    for file in place.iterdir():
        sync(file)
    return indexes[0]


def _loose_objects(folder: Path) -> dict[bytes, Path]:
    return {
        bytes.fromhex(fan.name + file.name): file
        for fan in folder.iterdir()
        if len(fan.name) == 2
        for file in fan.iterdir()
        if _is_hex(fan.name + file.name)
    }


def _is_hex(name: str) -> bool:
    return len(name) == 40 and not name.strip("0123456789abcdef")


def _count(index: Path) -> int:
    """Return how many objects a pack index names (version 2: magic, then 256 cumulative counts)."""
    with index.open("rb") as file:
        if file.read(len(_INDEX_MAGIC)) != _INDEX_MAGIC:
            raise ValueError(f"{index.name} is no pack index of version 2")
        file.seek(len(_INDEX_MAGIC) + 255 * 4)
        (count,) = struct.unpack(">I", file.read(4))
    return int(count)


def _object_ids(index: Path) -> set[bytes]:
    count = _count(index)
    with index.open("rb") as file:
        file.seek(len(_INDEX_MAGIC) + 256 * 4)
        names = file.read(20 * count)
    return {names[at : at + 20] for at in range(0, len(names), 20)}


def _clear_leftovers(folder: Path) -> None:
    for left in folder.glob("repack-*"):
        shutil.rmtree(left, ignore_errors=True)
    for fan in folder.glob("??"):
        for left in fan.glob("tmp_object_*"):
            left.unlink(missing_ok=True)
    for half, other in ((".pack", ".idx"), (".idx", ".pack")):
        for file in (folder / "pack").glob(f"pack-*{half}"):
            if not file.with_suffix(other).exists():
                file.unlink(missing_ok=True)
