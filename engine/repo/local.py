"""A repository on this machine that is only read: the engine's mirror, or a person's own clone."""

from __future__ import annotations

from pathlib import Path

import pygit2

from automator67.engine.remote_errors import MirrorFailed
from automator67.engine.repo.commits import resolve


class LocalRepository:
    """A bare repository or one with a work tree; its commits are read, its work tree never is.

    Raises MirrorFailed when there is no repository at ``directory``.
    """

    def __init__(self, directory: Path) -> None:
        self.name = str(directory)
        try:
            self.repository = pygit2.Repository(str(directory))
        except (pygit2.GitError, KeyError) as error:
            raise MirrorFailed(f"there is no git repository at {directory}: {error}") from None

    def head(self) -> str | None:
        """Return the commit that HEAD is at, None when there is no commit yet."""
        if self.repository.head_is_unborn:
            return None
        return str(self.repository.head.peel(pygit2.Commit).id)

    def resolve(self, ref: str) -> str:
        """Return the full id of the commit that a person calls ``ref``. Raises UnknownCommit."""
        return resolve(self, ref)

    def distrust(self) -> None:
        """Nothing to do: it is not ours to make anew."""
