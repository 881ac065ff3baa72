"""What of a commit concerns us: the files of the known folders, listed without touching anything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from automator67.engine.remote_errors import BlobTooLarge, MirrorFailed, UnusableTree
from automator67.engine.repo.objects import blob_size, commit, raw
from automator67.engine.repo.readable import Readable

SETTINGS_FILE = "automator67.yaml"
FOLDERS = ("apps", "buckets", "nodes", "queries", "secrets", "shards")
MAX_BLOB_BYTES = 2 * 2**20
MAX_ENTRIES = 100_000
MAX_DEPTH = 16
NEAR = 0.7
"""How alike a folder's name must be to one of ours to be taken for a slip (difflib's ratio)."""

_FOLDER_MODE = 0o040000
_SUBMODULE_MODE = 0o160000


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: ``path`` relative to the folder that was asked for, ``blob`` the id of its content, ``size`` in bytes.

    ``mode`` is git's: 0o100644, 0o100755, 0o120000 for a symbolic link, 0o160000 for a submodule (its size is 0).
    Bytes of a path that are not UTF-8 are written as ``\\xNN``.
    """

    path: str
    blob: str
    size: int
    mode: int


class Tree:
    """The files of one commit below ``subdir`` of the repository ("" is its root).

    Raises UnknownCommit, or UnusableTree when there is no such folder.
    """

    def __init__(self, repo: Readable, commit_id: str, subdir: str = "") -> None:
        self._repo = repo
        self._root = str(commit(repo, commit_id).tree_id)
        for part in [p for p in subdir.split("/") if p not in ("", ".")]:
            found = {name: child for mode, name, child in self._children(self._root) if mode == _FOLDER_MODE}
            if part not in found:
                raise UnusableTree(f"the repository has no folder {subdir!r} at commit {commit_id[:12]}")
            self._root = found[part]

    def entries(self) -> list[Entry]:
        """List automator67.yaml and all below the known folders, in git's order.

        What stands in a known folder's place (a link, say) and YAML in folders that are nearly called so are listed
        too, so that they can be complained about.
        Raises UnusableTree when there are too many, MirrorFailed when the copy is damaged.
        """
        found: list[Entry] = []
        for mode, name, child in self._children(self._root):
            if mode == _FOLDER_MODE and name in FOLDERS:
                self._walk(child, name + "/", 1, found)
            elif mode == _FOLDER_MODE and get_close_matches(name, FOLDERS, n=1, cutoff=NEAR):
                found += [
                    self._entry(inner, f"{name}/{file}", blob)
                    for inner, file, blob in self._children(child)
                    if inner != _FOLDER_MODE and file.endswith((".yaml", ".yml"))
                ]
            elif mode != _FOLDER_MODE and (name == SETTINGS_FILE or name in FOLDERS):
                found.append(self._entry(mode, name, child))
        return found

    def read(self, blob: str) -> bytes:
        """Return a file's content. Raises BlobTooLarge before loading it, MirrorFailed when the copy lacks it."""
        return read_blob(self._repo, blob)

    def _walk(self, tree: str, prefix: str, depth: int, found: list[Entry]) -> None:
        if depth > MAX_DEPTH:
            raise UnusableTree(f"{prefix} is nested deeper than {MAX_DEPTH} folders")
        for mode, name, child in self._children(tree):
            if mode == _FOLDER_MODE:
                self._walk(child, f"{prefix}{name}/", depth + 1, found)
            else:
                found.append(self._entry(mode, prefix + name, child))
                if len(found) > MAX_ENTRIES:
                    raise UnusableTree(f"there are more than {MAX_ENTRIES} files in {', '.join(FOLDERS)}")

    def _entry(self, mode: int, path: str, child: str) -> Entry:
        size = 0 if mode == _SUBMODULE_MODE else blob_size(self._repo, child)
        return Entry(path, child, size, mode)

    def _children(self, tree: str) -> Iterator[tuple[int, str, str]]:
        """Read a tree object: ``mode SP name NUL id`` again and again (git's tree format)."""
        _, content = raw(self._repo, tree)
        width = len(tree) // 2
        at, end = 0, len(content)
        while at < end:
            space = content.find(b" ", at, at + 8)
            null = content.find(b"\0", space)
            if space < 0 or null < 0 or null + 1 + width > end or content[at:space].strip(b"01234567"):
                raise MirrorFailed(f"tree {tree[:12]} of {self._repo.name} is malformed")
            name = content[space + 1 : null].decode("utf-8", "backslashreplace")
            yield int(content[at:space], 8), name, content[null + 1 : null + 1 + width].hex()
            at = null + 1 + width


def read_blob(repo: Readable, blob: str, limit: int = MAX_BLOB_BYTES) -> bytes:
    """Return a blob of at most ``limit`` bytes. Raises BlobTooLarge before loading it, MirrorFailed."""
    size = blob_size(repo, blob)
    if size > limit:
        raise BlobTooLarge(f"the file is {size} bytes; at most {limit} are read")
    return raw(repo, blob)[1]
