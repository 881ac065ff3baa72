"""A bare copy of the config repository that follows one branch of a remote.

The copy is made beside its place and renamed into it when complete, so it is there wholly or not at all. Only one
process fetches at a time (a lock on the directory); others may read. libgit2 moves the branch after all of a pack
has arrived and been checked, so a failed fetch leaves the last good head.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType

from automator67.engine.remote_errors import BranchMissing, MirrorFailed, RemoteError
from automator67.engine.repo.address import parse
from automator67.engine.repo.credentials import Credentials
from automator67.engine.repo.transfer import SILENCE_SECONDS, Transfer, explain, redact, set_timeouts

NOTES_REF = "refs/notes/automator67"
FETCH_SECONDS = 600.0
"""How long one exchange with the remote may take in all."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch found.

    ``head`` is the branch's commit, None with a ``reason`` while the remote is empty. ``previous`` is the head before
    this fetch. ``forced``: the branch was rewritten, ``previous`` is not an ancestor of ``head``.
    """

    head: str | None
    previous: str | None
    forced: bool = False
    reason: str = ""


class Mirror:
    """The copy of one branch of the remote at ``url`` in ``directory``. To be used from one thread.

    Raises BadAddress for a URL that may not be used.
    """

    def __init__(
        self,
        directory: Path,
        url: str,
        branch: str,
        credentials: Credentials | None = None,
        *,
        allow_http: bool = False,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self.address = parse(url, allow_http=allow_http)
        self.branch = branch
        self.path = directory / "mirror.git"
        self._directory = directory
        self._credentials = credentials
        self._silence = silence
        self._repository: pygit2.Repository | None = None

    @property
    def repository(self) -> pygit2.Repository:
        """The opened copy. Raises MirrorFailed when there is none yet."""
        if self._repository is None:
            try:
                self._repository = pygit2.Repository(str(self.path))
            except pygit2.GitError as error:
                raise MirrorFailed(f"there is no copy of {self.address.url} yet: {error}") from None
        return self._repository

    @property
    def head(self) -> str | None:
        """The commit of the branch as last fetched, None before the first fetch."""
        if self._repository is None and not self.path.exists():
            return None
        return _target(self.repository, self._ref)

    def fetch(self) -> Fetched:
        """Bring the copy up to the remote's branch; makes the copy first when there is none or it is damaged.

        Raises RemoteUnreachable, RemoteRefused, RemoteBroken, BranchMissing or MirrorFailed (all RemoteError); the
        head stays what it was.
        """
        with self.locked():
            previous = self._open_sound()
            if self._repository is None:
                return self._clone(previous)
            head = self._download(self._repository)
            if head is None:
                if previous is not None:
                    raise BranchMissing(f"{self.address.url} is empty now; keeping the last commit, {previous[:12]}")
                return self._empty()
            _drop_other_refs(self._repository, {self._ref, NOTES_REF})
            return Fetched(head, previous, forced=self._rewritten(previous, head))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that writes to the copy; what a killed one left half-done is cleared away first."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise MirrorFailed(f"{self._directory} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._clear_leftovers()
            yield
        finally:
            os.close(lock)

    def close_handles(self) -> None:
        """Let go of opened packs; the next use opens those that are there then."""
        self._repository = None

    @contextmanager
    def exchange(self, repository: pygit2.Repository) -> Iterator[tuple[pygit2.Remote, Transfer]]:
        """One exchange with the remote; errors of libgit2 come out as RemoteError."""
        set_timeouts(self._silence)
        secrets = self._credentials.secrets() if self._credentials else ()
        transfer = Transfer(self.address, self._credentials, FETCH_SECONDS)
        try:
            yield repository.remotes.create_anonymous(self.address.url), transfer
        except pygit2.GitError as error:
            raise explain(error, self.address, (*secrets, self.address.secret)) from None
        except OSError as error:
            text = redact(str(error), secrets)
            raise MirrorFailed(f"the copy of {self.address.url} cannot be written: {text}") from None

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.branch}"

    def _clone(self, previous: str | None) -> Fetched:
        place = Path(tempfile.mkdtemp(prefix="new-", dir=self._directory))
        try:
            repository = pygit2.init_repository(str(place), bare=True, initial_head=self.branch)
            # Where we are sent from there is not what was configured; see Gatekeeper for the same host.
            repository.config["http.followRedirects"] = "false"
            head = self._download(repository)
            if head is None:
                return self._empty()
            shutil.rmtree(self.path, ignore_errors=True)
            place.rename(self.path)
            _sync_directory(self._directory)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        self._repository = None
        return Fetched(head, previous, forced=self._rewritten(previous, head))

    def _download(self, repository: pygit2.Repository) -> str | None:
        """Fetch the branch; return its commit, None when the remote has no branch at all."""
        with self.exchange(repository) as (remote, transfer):
            remote.connect(callbacks=transfer)
            heads = {h.name: str(h.oid) for h in remote.list_heads(connect=False) if h.name}
            branches = [n.removeprefix("refs/heads/") for n in heads if n.startswith("refs/heads/")]
            if not branches:
                return None
            if self._ref not in heads:
                raise self._no_branch(branches)
            if heads[self._ref] != _target(repository, self._ref):
                remote.fetch([f"+{self._ref}:{self._ref}"], callbacks=transfer)
            return _target(repository, self._ref)

    def _open_sound(self) -> str | None:
        """Open the copy if it is whole; return the last head, which may be known even of a damaged copy."""
        if not self.path.exists():
            self._repository = None
            return None
        previous = None
        try:
            repository = self.repository
            previous = _target(repository, self._ref)
            for name in repository.listall_references():
                repository[repository.lookup_reference(name).target].peel(pygit2.Tree)
        except (pygit2.GitError, KeyError, RemoteError):
            self._repository = None
        return previous

    def _rewritten(self, previous: str | None, head: str) -> bool:
        if previous is None or previous == head:
            return False
        repository = self.repository
        if previous not in repository or repository[previous].type != ObjectType.COMMIT:
            return True
        return not repository.descendant_of(head, previous)

    def _empty(self) -> Fetched:
        return Fetched(None, None, reason=f"{self.address.url} has no commits yet; push one")

    def _no_branch(self, branches: list[str]) -> BranchMissing:
        near = get_close_matches(self.branch, branches, 1)
        others = f"did you mean {near[0]!r}?" if near else "it has " + ", ".join(sorted(branches)[:5])
        last = self.head
        kept = f"; keeping the last commit, {last[:12]}" if last else ""
        return BranchMissing(f"{self.address.url} has no branch {self.branch!r}: {others}{kept}")

    def _clear_leftovers(self) -> None:
        for left in self._directory.glob("new-*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in (self.path / "objects" / "pack").glob("pack_git2_*"):
            left.unlink(missing_ok=True)
        for left in self.path.glob("refs/**/*.lock"):
            left.unlink(missing_ok=True)


def _target(repository: pygit2.Repository, ref: str) -> str | None:
    try:
        return str(repository.lookup_reference(ref).target)
    except (KeyError, pygit2.GitError):
        return None


def _drop_other_refs(repository: pygit2.Repository, keep: set[str]) -> None:
    for name in repository.listall_references():
        if name not in keep:
            repository.lookup_reference(name).delete()


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
