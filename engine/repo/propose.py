"""Proposes a change of the config repository: one commit on a branch of its own, for a person to look at and merge."""

from __future__ import annotations

from collections.abc import Mapping
from time import time

import pygit2
from pygit2.enums import FileMode

from automator67.engine.remote_errors import MirrorFailed, RemoteRefused, UnknownCommit
from automator67.engine.repo.mirror import Mirror

_SENDING = "refs/outgoing/"


def propose(mirror: Mirror, base: str, branch: str, files: Mapping[str, bytes], message: str) -> bool:
    """Have the remote hold ``branch`` with one commit on top of ``base`` (full id) that writes these files.

    Returns False when it has a branch of that name already: that one is left as it is. May be called from another
    thread than the mirror's. Raises RemoteError; the remote then has either all of it or none.
    """
    ref = f"refs/heads/{branch}"
    if not pygit2.reference_is_valid_name(ref):
        raise MirrorFailed(f"{branch!r} cannot be the name of a branch")
    if mirror.address.scheme == "file":
        # libgit2 does not push to a repository with a work tree.
        with mirror.explained():
            target = pygit2.Repository(mirror.address.path)
            if ref in target.references:
                return False
            target.references.create(ref, commit_files(target, base, files, message))
            return True
    # A handle of our own: the mirror's belongs to its thread.
    with mirror.explained():
        repository = pygit2.Repository(str(mirror.path))
        made = commit_files(repository, base, files, message)
    outgoing = f"{_SENDING}{branch}"
    with mirror.exchange(repository, push=True) as (remote, transfer):
        if any(head.name == ref for head in remote.list_heads(connect=False)):
            return False
        repository.references.create(outgoing, made, force=True)
        try:
            remote.push([f"{outgoing}:{ref}"], callbacks=transfer)
        finally:
            repository.references.delete(outgoing)
    if reason := transfer.rejected.get(ref):
        raise RemoteRefused(f"{mirror.name} does not take branch {branch}: {' '.join(reason.split())}")
    return True


def read_file(mirror: Mirror, commit: str, path: str) -> bytes:
    """Return the content of a file at a commit (full id). Raises UnknownCommit. From any thread."""
    try:
        found: object = pygit2.Repository(str(mirror.path))[commit].peel(pygit2.Tree)[path]
    except (KeyError, ValueError, pygit2.GitError):
        found = None
    if not isinstance(found, pygit2.Blob):
        raise UnknownCommit(f"there is no file {path} at commit {commit[:12]}")
    return found.data


def commit_files(
    repository: pygit2.Repository,
    base: str,
    files: Mapping[str, bytes],
    message: str,
    who: pygit2.Signature | None = None,
) -> pygit2.Oid:
    """Make a commit on top of ``base`` (full id) that writes these files, on no branch; return its id."""
    index = pygit2.Index()
    index.read_tree(repository[base].peel(pygit2.Tree))
    for path, content in sorted(files.items()):
        index.add(pygit2.IndexEntry(path, repository.create_blob(content), FileMode.BLOB))
    who = who or pygit2.Signature("automator67", "automator67@localhost", int(time()), 0)
    return repository.create_commit(None, who, who, message, index.write_tree(repository), [base])
