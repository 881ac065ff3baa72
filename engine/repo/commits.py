"""Who committed what and when, and which files differ between two commits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from heapq import heappop, heappush

import pygit2

from automator67.engine.remote_errors import UnknownCommit
from automator67.engine.repo.objects import commit, damaged
from automator67.engine.repo.readable import Readable

_REVISION = re.compile(r"(?:HEAD|[0-9A-Za-z_][0-9A-Za-z_./-]*)(?:[~^][0-9]{0,4}){0,20}", re.A)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")
MAX_SUBJECT = 200


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit as a person wants to see it: ``time`` in seconds since the epoch, texts free of control characters."""

    id: str
    parents: tuple[str, ...]
    author: str
    email: str
    time: float
    subject: str


def commit_info(repo: Readable, commit_id: str) -> CommitInfo:
    """Return who made a commit (full id), when and why. Raises UnknownCommit."""
    return _info(commit(repo, commit_id))


def log(repo: Readable, head: str, limit: int = 50) -> list[CommitInfo]:
    """Return up to ``limit`` commits from ``head`` (full id) backwards, children first. Raises UnknownCommit."""
    found: list[CommitInfo] = []
    # By time as git does, yet never a parent before its child in the same second.
    waiting = [(-start.commit_time, 0, start) for start in [commit(repo, head)]]
    seen = {waiting[0][2].id}
    while waiting and len(found) < limit:
        one = heappop(waiting)[2]
        found.append(_info(one))
        for parent_id in one.parent_ids:
            # A shallow clone ends where a parent is not there.
            parent = None if parent_id in seen else repo.repository.get(parent_id)
            seen.add(parent_id)
            if isinstance(parent, pygit2.Commit):
                heappush(waiting, (-parent.commit_time, len(seen), parent))
    return found


def resolve(repo: Readable, ref: str) -> str:
    """Return the full id of what a person calls a commit: an id or its beginning, a branch, ``HEAD``, ``HEAD~2``.

    Raises UnknownCommit, saying why.
    """
    if not _REVISION.fullmatch(ref):
        raise UnknownCommit(f"{ref[:80]!r} does not name a commit; write an id, the branch, HEAD or HEAD~1")
    try:
        return str(repo.repository.revparse_single(ref).peel(pygit2.Commit).id)
    except pygit2.errors.AmbiguousError:
        raise UnknownCommit(f"several commits begin with {ref[:80]!r}; write more of the id") from None
    except (KeyError, ValueError, pygit2.GitError):
        raise UnknownCommit(f"there is no commit {ref[:80]!r} in the copy of {repo.name}") from None


def changed_paths(repo: Readable, old: str | None, new: str) -> list[str]:
    """Return the sorted paths (from the repository's root) that differ between two commits; all when old is None.

    Raises UnknownCommit.
    """
    after = commit(repo, new).tree
    try:
        diff = after.diff_to_tree(swap=True) if old is None else commit(repo, old).tree.diff_to_tree(after)
        return sorted({_path(side.raw_path) for delta in diff.deltas for side in (delta.old_file, delta.new_file)})
    except (KeyError, pygit2.GitError) as error:
        raise damaged(repo, new, error) from None


def is_ancestor(repo: Readable, older: str, newer: str) -> bool:
    """Return whether ``newer`` contains ``older`` (or is it). Raises UnknownCommit."""
    first, last = commit(repo, older).id, commit(repo, newer).id
    return first == last or repo.repository.descendant_of(last, first)


def _info(found: pygit2.Commit) -> CommitInfo:
    message = found.raw_message.decode("utf-8", "replace").lstrip()
    return CommitInfo(
        str(found.id),
        tuple(str(p) for p in found.parent_ids),
        _clean((found.author.raw_name or b"").decode("utf-8", "replace")),
        _clean((found.author.raw_email or b"").decode("utf-8", "replace")),
        float(found.commit_time),
        _clean(message.split("\n", 1)[0]),
    )


def _clean(text: str) -> str:
    """One line of at most ``MAX_SUBJECT`` characters that cannot steer a terminal."""
    line = " ".join(_CONTROL.sub(" ", text).split())
    return line if len(line) <= MAX_SUBJECT else line[: MAX_SUBJECT - 1] + "…"


def _path(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
