"""Images as ``docker save`` writes them, with fewer layers: those that the reader has are left out. Pure.

A layer is known by its chain id (OCI image specification, "Layer ChainID"): the hash of all layers up to it. The
Docker Engine does not open a layer whose chain it has, so it need not be in what ``docker load`` reads.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import tarfile
from collections.abc import Collection, Iterator, Sequence
from typing import IO, Any

_BUFFER = 1 << 20
_MANIFEST = "manifest.json"
_LARGEST_MANIFEST = 8 * 2**20


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """Return the chain ids of an image's layers, the lowest first."""
    chains: list[str] = []
    for diff in diff_ids:
        text = f"{chains[-1]} {diff}" if chains else diff
        chains.append(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" if chains else text)
    return chains


def known_layers(diff_ids: Sequence[str], have: Collection[str]) -> int:
    """Return how many of the lowest layers the reader has."""
    return sum(1 for chain in chain_ids(diff_ids) if chain in have)


def members_to_drop(saved: IO[bytes], known: int) -> frozenset[str]:
    """Read a saved image and return the members that hold its ``known`` lowest layers and nothing else."""
    links: dict[str, str] = {}
    layers: list[str] = []
    with tarfile.open(fileobj=saved, mode="r|", bufsize=_BUFFER) as tar:
        for member in tar:
            if member.issym() or member.islnk():
                links[member.name] = posixpath.normpath(f"{posixpath.dirname(member.name)}/{member.linkname}")
            elif member.name == _MANIFEST and member.size <= _LARGEST_MANIFEST:
                file = tar.extractfile(member)
                manifest: Any = json.loads(file.read()) if file else []
                layers = [str(name) for name in manifest[0]["Layers"]]
    needed = {links.get(name, name) for name in layers[known:]} | set(layers[known:])
    return frozenset(set(layers[:known]) - needed)


def copy_without(saved: IO[bytes], drop: Collection[str], out: IO[bytes]) -> None:
    """Copy a saved image, leaving members out."""
    with (
        tarfile.open(fileobj=saved, mode="r|", bufsize=_BUFFER) as source,
        tarfile.open(fileobj=out, mode="w|", bufsize=_BUFFER, format=tarfile.PAX_FORMAT) as target,
    ):
        target.copybufsize = _BUFFER  # type: ignore[attr-defined]
        for member in source:
            if member.name not in drop:
                target.addfile(member, source.extractfile(member) if member.isreg() else None)


class PiecesFile:
    """Pieces of bytes, read as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; nothing at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
