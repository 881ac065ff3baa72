"""What pull requests propose, merged in memory with the branch they are for, in a bare repository of its own.

Whatever a stranger proposes stays out of the engine's mirror, and is bounded before anything walks through it.
"""

from __future__ import annotations

from pathlib import Path

import pygit2
from pygit2.enums import MergeFlag

from automator67.engine.remote_errors import MirrorFailed, RemoteBroken, RemoteError
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.transfer import TooMuch, open_bare

MAX_BYTES = 64 * 2**20
"""How much may arrive for one pull request beyond the branch itself."""
MAX_ENTRIES = 100_000
MAX_DEPTH = 64

_BASE, _HEAD = "refs/incoming/base", "refs/incoming/pull"
_NOBODY = pygit2.Signature("automator67", "automator67@localhost", 0, 0)


class Unmergeable(RemoteError):
    """The proposal cannot be merged or is out of all proportion; one line that says what to do."""


class Proposals:
    """The repository ``directory``, filled from the remote of ``mirror``. For use from one thread."""

    def __init__(self, directory: Path, mirror: Mirror) -> None:
        self._mirror = mirror
        self._directory = directory
        self._repository: pygit2.Repository | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._mirror.name

    @property
    def repository(self) -> pygit2.Repository:
        """The opened repository. Raises MirrorFailed."""
        if self._repository is None:
            try:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._repository = open_bare(self._directory)
            except (pygit2.GitError, OSError) as error:
                raise MirrorFailed(f"{self._directory} cannot be used: {error}") from None
        return self._repository

    def distrust(self) -> None:
        """Open the repository anew at the next use."""
        self._repository = None

    def merged(self, ref: str, head: str) -> tuple[str, str]:
        """Fetch the branch and ``ref``; return the branch's commit and that of merging ``head`` into it.

        The merge is a commit in memory of nobody: it is the same for the same two commits. Raises RemoteError, of
        which Unmergeable says that the proposal itself is the reason.
        """
        repository = self.repository
        with self._mirror.exchange(repository) as (remote, transfer):
            remote.fetch([f"+refs/heads/{self._mirror.branch}:{_BASE}"], callbacks=transfer)
        try:
            with self._mirror.exchange(repository) as (remote, transfer):
                transfer.most_bytes = MAX_BYTES
                remote.fetch([f"+{ref}:{_HEAD}"], callbacks=transfer)
        except TooMuch as error:
            raise Unmergeable(str(error)) from None
        base = str(repository.lookup_reference(_BASE).target)
        if head not in repository:
            raise RemoteBroken(f"{self.name} does not have {head[:12]} at {ref} (yet); looking again")
        return base, self._merge(repository, base, head)

    def _merge(self, repository: pygit2.Repository, base: str, head: str) -> str:
        proposed = repository[head]
        if not isinstance(proposed, pygit2.Commit):
            raise Unmergeable(f"{head[:12]} is not a commit")
        _bound(proposed.tree)
        try:
            index = repository.merge_commits(base, head, flags=MergeFlag(0))
            if index.conflicts is not None:
                paths = sorted({side.path for sides in index.conflicts for side in sides if side is not None})
                raise Unmergeable(
                    f"conflicts with {self._mirror.branch} in {', '.join(paths[:3])}: merge or rebase it first"
                )
            tree = index.write_tree(repository)
            return str(repository.create_commit(None, _NOBODY, _NOBODY, "merge", tree, [base, head]))
        except (pygit2.GitError, KeyError, ValueError) as error:
            raise Unmergeable(f"{head[:12]} cannot be merged: {error}") from None


def _bound(root: pygit2.Tree) -> None:
    """Refuse a tree that unfolds into more than anybody keeps in a repository: trees may share their parts."""
    seen, waiting = 0, [(root, 1)]
    while waiting:
        tree, depth = waiting.pop()
        seen += len(tree)
        if seen > MAX_ENTRIES or depth > MAX_DEPTH:
            raise Unmergeable(f"it has more than {MAX_ENTRIES} files, or folders deeper than {MAX_DEPTH}")
        waiting.extend((entry, depth + 1) for entry in tree if isinstance(entry, pygit2.Tree))
