"""The config repository as the engine uses it: fetch the tip, check who signed it, load what it asks for."""

from __future__ import annotations

from automator67.engine.load import Loaded, Loader
from automator67.engine.repo.commits import CommitInfo, commit_info
from automator67.engine.repo.mirror import Mirror, RemoteError
from automator67.engine.repo.packs import repack_if_needed
from automator67.engine.repo.signatures import AllowedSigners, Unsigned, verify_tip
from automator67.engine.repo.tree import Tree


class SourceError(Exception):
    """The repository gave no new commit: it cannot be reached or read, or its tip may not be used. One line."""


class Source:
    """One branch and one folder of one remote, by way of a bare mirror."""

    def __init__(self, mirror: Mirror, subdir: str = "", signers: AllowedSigners | None = None) -> None:
        self.mirror = mirror
        self._subdir = subdir
        self._signers = signers
        self._loader = Loader()

    def fetch(self) -> str:
        """Return the commit at the tip of the branch. Raises SourceError; then nothing has changed."""
        try:
            head = self.mirror.fetch().head
            if self._signers is not None:
                verify_tip(self.mirror, head, self._signers)
        except (RemoteError, Unsigned) as error:
            raise SourceError(str(error)) from error
        return head

    def last_head(self) -> str:
        """Return the commit that was fetched last, or nothing."""
        return self.mirror.head() or ""

    def describe(self, commit: str) -> CommitInfo:
        """Return author, subject and time of a commit."""
        return commit_info(self.mirror, commit)

    def load(self, commit: str) -> Loaded:
        """Return what a commit asks for, or the problems that keep it from being used."""
        tree = Tree(self.mirror, commit, self._subdir)
        return self._loader.load(tree.entries(), tree.read, commit)

    def tidy(self) -> None:
        """Repack the mirror when packs have piled up."""
        repack_if_needed(self.mirror)
