"""The files of sources as nodes get them: one tar file per folder and commit, in the engine's state directory."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from automator67.engine.desired import Source
from automator67.engine.image_name import tree_key
from automator67.engine.repo.sources import Sources

KEPT_SECONDS = 7 * 24 * 3600.0
"""How long a tar file that nobody asks for is kept; after that it is made again of the source's repository."""


class Trees:
    """Makes the tar files, once each, and clears them away. For use from several threads."""

    def __init__(self, directory: Path, sources: Sources) -> None:
        self._directory = directory
        self._sources = sources

    def need(self, source: Source) -> Path:
        """Return the tar file of a source at its commit, making it when it is not there. Raises RemoteError."""
        place = self._place(source)
        if place.exists():
            with contextlib.suppress(OSError):
                os.utime(place)
            return place
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sources.resolve(source.git, source.commit)
        self._sources.tar(source.git, source.commit, source.path, place)
        return place

    def resolve(self, source: Source) -> str:
        """Return the commit a source's ref means now; its tar file is there then. Raises RemoteError."""
        commit = self._sources.resolve(source.git, source.ref)
        place = self._place(source, commit)
        if not place.exists():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sources.tar(source.git, commit, source.path, place)
        return commit

    def tidy(self, used: Iterable[Source]) -> None:
        """Remove what has not been asked for in a week and belongs to no app now; and what a crash left half made."""
        kept = {self._place(source).name for source in used}
        for file in self._directory.glob("*.tar*"):
            with contextlib.suppress(OSError):
                if file.name not in kept and time.time() - file.stat().st_mtime > KEPT_SECONDS:
                    file.unlink()

    def _place(self, source: Source, commit: str = "") -> Path:
        return self._directory / f"{tree_key(commit or source.commit, source.path)}.tar"
