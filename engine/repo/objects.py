"""Reads single objects of the mirror; a missing or corrupt one has the mirror made anew at the next fetch."""

from __future__ import annotations

import pygit2
from pygit2.enums import ObjectType

from automator67.engine.remote_errors import MirrorFailed, UnknownCommit
from automator67.engine.repo.readable import Readable


def raw(repo: Readable, name: str | pygit2.Oid) -> tuple[ObjectType, bytes]:
    """Return type and content of an object. Raises MirrorFailed when the copy lacks it."""
    try:
        kind, content = repo.repository.odb.read(name)
    except (KeyError, ValueError, pygit2.GitError) as error:
        raise damaged(repo, name, error) from None
    return ObjectType(kind), content


def blob_size(repo: Readable, name: str | pygit2.Oid) -> int:
    """Return the bytes of an object without reading it. Raises MirrorFailed when the copy lacks it."""
    try:
        return int(repo.repository.odb.read_header(name)[1])
    except (KeyError, ValueError, pygit2.GitError) as error:
        raise damaged(repo, name, error) from None


def commit(repo: Readable, name: str | pygit2.Oid) -> pygit2.Commit:
    """Return a commit by its full id. Raises UnknownCommit when there is none."""
    try:
        found = repo.repository[name]
    except (KeyError, ValueError, pygit2.GitError):
        raise UnknownCommit(f"there is no commit {str(name)[:40]!r} in the copy of {repo.name}") from None
    if not isinstance(found, pygit2.Commit):
        raise UnknownCommit(f"{str(name)[:40]!r} is not a commit")
    return found


def damaged(repo: Readable, name: str | pygit2.Oid, error: Exception) -> MirrorFailed:
    """Return the error that says what is missing, after noting that the copy cannot be trusted any more."""
    repo.distrust()
    return MirrorFailed(
        f"the copy of {repo.name} is damaged at object {str(name)[:12]} ({' '.join(str(error).split())});"
        " the engine makes its copy anew with the next fetch"
    )
