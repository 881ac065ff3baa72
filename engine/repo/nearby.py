"""Copies what is missing of a commit from a repository on this machine.

libgit2's own transport for paths packs every branch of the remote again at each fetch, all of what is not on a
branch of ours: a repository with one long-lived side branch makes each fetch as slow as the first. Here only what
the wanted commit needs is walked, down to what is already there.
"""

from __future__ import annotations

from pathlib import Path

import pygit2
from pygit2.enums import FileMode

_TREE, _SUBMODULE = FileMode.TREE, FileMode.COMMIT


def heads(source: pygit2.Repository) -> dict[str, str]:
    """Return the commits of the source's branches by full ref name."""
    names = [f"refs/heads/{name}" for name in source.listall_branches()]
    return {name: str(source.lookup_reference(name).target) for name in names}


def copy_commit(source: pygit2.Repository, target: pygit2.Repository, wanted: str) -> None:
    """Bring a commit with its history and trees into the target, as one pack.

    Whatever the target has is taken to be whole: packs arrive as a whole or not at all. Raises pygit2.GitError,
    KeyError or OSError when the source is damaged or the target cannot be written; the target then has no new pack.
    """
    # To ask for an object that is not there has libgit2 look through the disk: spare that where there is nothing.
    empty = not any((Path(target.path) / "objects" / "pack").iterdir())
    builder = pygit2.PackBuilder(source)
    builder.set_threads(1)
    seen: set[pygit2.Oid] = set()
    commits = [pygit2.Oid(hex=wanted)]
    while commits:
        name = commits.pop()
        if name in seen or (not empty and name in target):
            continue
        seen.add(name)
        commit = source[name]
        if not isinstance(commit, pygit2.Commit):
            raise KeyError(f"{name} is not a commit")
        builder.add(name)
        commits.extend(commit.parent_ids)
        trees = [commit.tree_id]
        while trees:
            tree_id = trees.pop()
            if tree_id in seen or (not empty and tree_id in target):
                continue
            seen.add(tree_id)
            builder.add(tree_id)
            tree = source[tree_id]
            if not isinstance(tree, pygit2.Tree):
                raise KeyError(f"{tree_id} is not a tree")
            for entry in tree:
                if entry.filemode == _TREE:
                    trees.append(entry.id)
                elif entry.filemode != _SUBMODULE and entry.id not in seen:
                    seen.add(entry.id)
                    if empty or entry.id not in target:
                        builder.add(entry.id)
    if seen:
        builder.write(str(Path(target.path) / "objects" / "pack"))
