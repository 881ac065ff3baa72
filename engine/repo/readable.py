"""What the reading side needs of a repository."""

from __future__ import annotations

from typing import Protocol

import pygit2


class Readable(Protocol):
    """A repository to read from: the engine's mirror, or one on this machine."""

    @property
    def name(self) -> str:
        """What messages call it: its URL or path, without secrets."""
        ...

    @property
    def repository(self) -> pygit2.Repository:
        """The opened repository. Raises MirrorFailed when there is none."""
        ...

    def distrust(self) -> None:
        """Take note that an object is missing or corrupt."""
        ...
