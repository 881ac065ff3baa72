"""A bare copy of the config repository that follows one branch of a remote.

The copy is made beside its place and renamed into it when complete, so it is there wholly or not at all. Only one
process fetches at a time (a lock on the directory); others may read. A fetch arrives under a ref of its own; the
branch moves when all of it is here and is a commit with a tree, so a failed fetch leaves the last good head.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import pygit2

from automator67.engine.durable import sync
from automator67.engine.remote_errors import BranchMissing, MirrorFailed, RemoteBroken
from automator67.engine.repo import nearby
from automator67.engine.repo.address import BadAddress, parse
from automator67.engine.repo.credentials import Credentials
from automator67.engine.repo.exclusive import exclusive
from automator67.engine.repo.nodelay import open_sockets, send_at_once
from automator67.engine.repo.transfer import SILENCE_SECONDS, Transfer, configure, explain, open_bare, redact

Accept = Callable[[str], object]
"""Looks at a commit and raises when it may not be followed."""

_FETCH, _PUSH = 0, 1
"""libgit2's git_direction."""
_INCOMING = "refs/incoming/head"
FETCH_SECONDS = 600.0
"""How long one exchange with the remote may take in all."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch found.

    ``head`` is the branch's commit, ``previous`` that before this fetch. ``forced``: the branch was rewritten,
    ``previous`` is not an ancestor of ``head``.
    """

    head: str
    previous: str | None
    forced: bool = False


class Mirror:
    """The copy of one branch of the remote at ``url``: the bare repository ``directory``. For use from one thread.

    Raises BadAddress for a URL that may not be used or a name that no branch can have.
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
        if not pygit2.reference_is_valid_name(f"refs/heads/{branch}") or branch.startswith("-"):
            raise BadAddress(f"{branch!r} cannot be the name of a branch")
        self.branch = branch
        self.path = directory
        self._credentials = credentials
        self._silence = silence
        self._repository: pygit2.Repository | None = None
        self._accepted: str | None = None

    @property
    def repository(self) -> pygit2.Repository:
        """The opened copy. Raises MirrorFailed when there is none yet."""
        if self._repository is None:
            try:
                self._repository = pygit2.Repository(str(self.path))
            except pygit2.GitError as error:
                raise MirrorFailed(f"there is no copy of {self.name} yet: {error}") from None
        return self._repository

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.address.url

    def head(self) -> str | None:
        """Return the commit of the branch as last fetched, None before the first fetch."""
        if self._repository is None and not self.path.exists():
            return None
        return _target(self.repository, self._ref)

    def fetch(self, accept: Accept | None = None) -> Fetched:
        """Bring the copy up to the remote's branch; makes the copy first when there is none or it is damaged.

        ``accept`` is called with a commit that this object has not yet followed, before the branch moves to it; what
        it raises is passed on. Raises RemoteUnreachable, RemoteRefused, RemoteBroken, BranchMissing or MirrorFailed
        (all RemoteError). In all these cases the head stays what it was.
        """
        with exclusive(self.path):
            with self._own_trouble():
                previous = self._open_sound()
                head = self._receive(self.repository) if self._repository else self._clone(previous)
            if accept is not None and head != self._accepted:
                accept(head)
            self._accepted = head
            with self._own_trouble():
                self._move_branch(head)
                return Fetched(head, previous, forced=self._rewritten(previous, head))

    def distrust(self) -> None:
        """Have the next fetch make the copy anew: something in it is missing or corrupt."""
        self._beside("distrusted").touch()

    def close_handles(self) -> None:
        """Let go of opened packs; the next use opens those that are there then."""
        self._repository = None

    @contextmanager
    def exchange(
        self, repository: pygit2.Repository, *, push: bool = False
    ) -> Iterator[tuple[pygit2.Remote, Transfer]]:
        """One exchange with the remote, connected to; errors of libgit2 come out as RemoteError."""
        with self.explained():
            transfer = Transfer(self.address, self._credentials, FETCH_SECONDS)
            remote = repository.remotes.create_anonymous(self.name)
            known = open_sockets()
            remote.connect(transfer, _PUSH if push else _FETCH)
            send_at_once(known)
            yield remote, transfer

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Errors of libgit2 while dealing with the remote come out as RemoteError."""
        configure(self._silence)
        secrets = self._credentials.secrets() if self._credentials else ()
        try:
            yield
        except (pygit2.GitError, KeyError) as error:
            raise explain(error, self.address, (*secrets, self.address.secret)) from None

    @contextmanager
    def _own_trouble(self) -> Iterator[None]:
        try:
            yield
        except (pygit2.GitError, OSError, KeyError) as error:
            raise MirrorFailed(f"the copy of {self.name} at {self.path} cannot be used: {redact(str(error))}") from None

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self.branch}"

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")

    def _clone(self, previous: str | None) -> str:
        """Make the copy, with the branch where it was before (if it was anywhere); return the remote's commit."""
        place = Path(tempfile.mkdtemp(prefix=f"{self.path.name}.new-", dir=self.path.parent))
        damaged = self._beside("new-damaged")
        try:
            repository = open_bare(place)
            head = self._receive(repository)
            if previous is not None and _is_whole(repository, previous):
                repository.references.create(self._ref, previous)
            if self.path.exists():
                self.path.rename(damaged)
            place.rename(self.path)
            self._beside("distrusted").unlink(missing_ok=True)
            sync(self.path.parent)
        finally:
            for left in (place, damaged):
                shutil.rmtree(left, ignore_errors=True)
        return head

    def _receive(self, repository: pygit2.Repository) -> str:
        """Have all of the remote's branch here, without moving ours; return its commit."""
        if self.address.scheme == "file":
            with self.explained():
                source = pygit2.Repository(self.address.path)
                wanted = self._wanted(nearby.heads(source))
                if not _is_whole(repository, wanted):
                    nearby.copy_commit(source, repository, wanted)
        else:
            with self.exchange(repository) as (remote, transfer):
                wanted = self._wanted({h.name: str(h.oid) for h in remote.list_heads(connect=False) if h.name})
                if not _is_whole(repository, wanted):
                    remote.fetch([f"+{self._ref}:{_INCOMING}"], callbacks=transfer)
        if not _is_whole(repository, wanted):
            raise RemoteBroken(f"{self.name} sent no usable commit for {self.branch!r}; nothing was changed")
        return wanted

    def _move_branch(self, head: str) -> None:
        repository = self.repository
        if head != _target(repository, self._ref):
            repository.references.create(self._ref, head, force=True)
            repository.set_head(self._ref)
        for name in repository.listall_references():
            if name not in (self._ref, _INCOMING):
                repository.lookup_reference(name).delete()

    def _open_sound(self) -> str | None:
        """Open the copy if it is whole; return the last head, which may be known even of a damaged copy."""
        if not self.path.exists():
            self._repository = None
            return None
        try:
            previous = _target(self.repository, self._ref)
        except MirrorFailed:
            return None
        distrusted = self._beside("distrusted").exists()
        if distrusted or (previous is not None and not _is_whole(self.repository, previous)):
            self._repository = None
        return previous

    def _rewritten(self, previous: str | None, head: str) -> bool:
        if previous is None or previous == head:
            return False
        repository = self.repository
        if not _is_whole(repository, previous):
            return True
        return not repository.descendant_of(head, previous)

    def _wanted(self, heads: Mapping[str, str]) -> str:
        if self._ref in heads:
            return heads[self._ref]
        branches = [n.removeprefix("refs/heads/") for n in heads if n.startswith("refs/heads/")]
        near = get_close_matches(self.branch, branches, 1)
        last = self.head() if self.path.exists() else None
        kept = f"; keeping the last commit, {last[:12]}" if last else ""
        if not branches:
            raise BranchMissing(f"{self.name} is empty{kept or ': push a first commit'}")
        others = f"did you mean {near[0]!r}?" if near else "it has " + ", ".join(sorted(branches)[:5])
        raise BranchMissing(f"{self.name} has no branch {self.branch!r}: {others}{kept}")


def _target(repository: pygit2.Repository, ref: str) -> str | None:
    try:
        return str(repository.lookup_reference(ref).target)
    except (KeyError, pygit2.GitError):
        return None


def _is_whole(repository: pygit2.Repository, commit: str) -> bool:
    try:
        found = repository[commit]
        return isinstance(found, pygit2.Commit) and found.tree is not None
    except (KeyError, pygit2.GitError):
        return False
