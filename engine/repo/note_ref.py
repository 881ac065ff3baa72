"""Writes git notes under one ref and shares them with the remote, beside the notes of others.

Notes are a tree of blobs named by the commits they belong to, in folders of two hex digits where there are many
(gitnotes in git's own documentation). We fan out one level from the start, so that writing one note stays cheap in a
tree of tens of thousands, and change an existing note wherever it lies.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import time

import pygit2
from pygit2.enums import FileMode, ObjectType

from automator67.engine.remote_errors import MirrorFailed, RemoteBroken, RemoteRefused
from automator67.engine.repo.exclusive import exclusive
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.packs import repack
from automator67.engine.repo.transfer import open_bare, redact

Edit = Callable[[str], str]
"""Makes the new text of a note from the old one ("" when there is none)."""

NOTES_REF = "refs/notes/automator67"
_SENDING = "refs/incoming/notes"
_ATTEMPTS = 5
_STALE_SECONDS = 60.0
_MAX_NOTE_BYTES = 256 * 2**10


class NoteRef:
    """The notes of ``refs/notes/automator67`` at the mirror's remote.

    For a remote elsewhere they are kept in a small repository beside the mirror, so that a slow push never holds up a
    fetch: this may be used from another thread than the mirror.
    """

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._here = mirror.path.with_name(f"{mirror.path.name}.notes")

    def edit(self, edits: Mapping[str, Edit]) -> None:
        """Change the notes of commits (full ids) and have the remote take them, all in one push.

        What others wrote under the ref meanwhile stays. Raises RemoteUnreachable, RemoteRefused, RemoteBroken or
        MirrorFailed; the remote then has either all of it or none.
        """
        write = self._edit_in_place if self._mirror.address.scheme == "file" else self._edit_and_push
        with exclusive(self._here):
            for _ in range(_ATTEMPTS):
                if write(edits):
                    return
        raise RemoteBroken(f"{self._mirror.name}: others keep changing {NOTES_REF}; trying again later")

    def _edit_in_place(self, edits: Mapping[str, Edit]) -> bool:
        """Write into a repository on this machine, also one with a work tree, which libgit2 does not push to.

        Returns whether it is there now; False when someone else was faster.
        """
        with self._mirror.explained():
            target = pygit2.Repository(self._mirror.address.path)
            _drop_stale_lock(Path(target.path) / f"{NOTES_REF}.lock")
            tip = _tip(target)
            new = _commit_edits(target, tip, edits)
            if new is None:
                return True
            with target.transaction() as transaction:
                transaction.lock_ref(NOTES_REF)
                if _tip(target) != tip:
                    return False
                transaction.set_target(NOTES_REF, new)
            return True

    def _own_repository(self) -> pygit2.Repository:
        try:
            try:
                open_bare(self._here)
                repack(self._here)
            except (pygit2.GitError, OSError, KeyError, ValueError):
                # All that is in it is at the remote too.
                shutil.rmtree(self._here, ignore_errors=True)
            return open_bare(self._here)
        except (pygit2.GitError, OSError) as error:
            raise MirrorFailed(f"{self._here} cannot be used: {redact(str(error))}") from None

    def _edit_and_push(self, edits: Mapping[str, Edit]) -> bool:
        """Return whether the remote has it now; False when someone else was faster."""
        repository = self._own_repository()
        with self._mirror.exchange(repository) as (remote, transfer):
            tips = [str(h.oid) for h in remote.list_heads(connect=False) if h.name == NOTES_REF]
            if tips and tips[0] not in repository:
                remote.fetch([f"+{NOTES_REF}:{NOTES_REF}"], callbacks=transfer)
            new = _commit_edits(repository, tips[0] if tips else None, edits)
        if new is None:
            return True
        repository.references.create(_SENDING, new, force=True)
        with self._mirror.exchange(repository, push=True) as (remote, transfer):
            try:
                remote.push([f"{_SENDING}:{NOTES_REF}"], callbacks=transfer)
            except pygit2.GitError as error:
                if "cannot push" in str(error):
                    return False
                raise
        reason = transfer.rejected.get(NOTES_REF)
        if reason is None:
            repository.references.create(NOTES_REF, new, force=True)
            return True
        if any(word in reason for word in ("fetch first", "non-fast-forward", "lock", "update ref", "changed")):
            return False
        raise RemoteRefused(f"{self._mirror.name} does not take {NOTES_REF}: {' '.join(reason.split())}")


def _drop_stale_lock(lock: Path) -> None:
    """Remove the lock of a writer that was killed: a live one holds it for milliseconds."""
    try:
        if time() - lock.stat().st_mtime > _STALE_SECONDS:
            lock.unlink(missing_ok=True)
    except FileNotFoundError:
        return


def _tip(repository: pygit2.Repository) -> str | None:
    try:
        return str(repository.lookup_reference(NOTES_REF).target)
    except (KeyError, pygit2.GitError):
        return None


def _tree(repository: pygit2.Repository, commit: str) -> pygit2.Tree:
    return repository[commit].peel(pygit2.Tree)


def _commit_edits(repository: pygit2.Repository, tip: str | None, edits: Mapping[str, Edit]) -> pygit2.Oid | None:
    """Write the edited notes as one commit on ``tip``; None when nothing changes."""
    before = _tree(repository, tip) if tip else None
    after = before
    for commit, edit in sorted(edits.items()):
        path, text = _read(repository, after, commit) if after else (_path(commit, 1), "")
        changed = edit(text)
        if changed != text:
            after = _put(repository, after, path, repository.create_blob(changed.encode()))
    if after is None or (before is not None and after.id == before.id):
        return None
    who = pygit2.Signature("automator67", "automator67@localhost", int(time()), 0)
    parents = [tip] if tip else []
    return repository.create_commit(None, who, who, "Notes added by automator67\n", after.id, parents)


def _path(commit: str, folders: int) -> list[str]:
    return [*(commit[2 * i : 2 * i + 2] for i in range(folders)), commit[2 * folders :]]


def _places(commit: str) -> Iterator[list[str]]:
    yield from (_path(commit, folders) for folders in (1, 0, 2, 3))


def _read(repository: pygit2.Repository, tree: pygit2.Tree, commit: str) -> tuple[list[str], str]:
    """Return where the commit's note is or would be, and its text."""
    for path in _places(commit):
        found: pygit2.Object = tree
        for part in path:
            if not isinstance(found, pygit2.Tree) or part not in found:
                break
            found = found[part]
        else:
            kind, size = repository.odb.read_header(found.id)
            if kind == ObjectType.BLOB and size <= _MAX_NOTE_BYTES:
                return path, repository.odb.read(found.id)[1].decode("utf-8", "replace")
    return _path(commit, 1), ""


def _put(repository: pygit2.Repository, tree: pygit2.Tree | None, path: list[str], blob: pygit2.Oid) -> pygit2.Tree:
    builder = repository.TreeBuilder(tree) if tree is not None else repository.TreeBuilder()
    if len(path) == 1:
        builder.insert(path[0], blob, FileMode.BLOB)
    else:
        below = tree[path[0]] if tree is not None and path[0] in tree else None
        inner = _put(repository, below if isinstance(below, pygit2.Tree) else None, path[1:], blob)
        builder.insert(path[0], inner.id, FileMode.TREE)
    made = repository[builder.write()]
    assert isinstance(made, pygit2.Tree)
    return made
