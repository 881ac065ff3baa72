"""Sources of apps: what a ref means now, and the files of a folder at a commit as one tar file.

Copies are shallow and only a cache: what is sent to nodes is the tar file, which is made once per folder and commit.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

from automator67.engine.remote_errors import BranchMissing, MirrorFailed, RemoteBroken, UnusableTree
from automator67.engine.repo import nearby
from automator67.engine.repo.address import Address, BadAddress, origin, parse
from automator67.engine.repo.credentials import Credentials
from automator67.engine.repo.exclusive import exclusive
from automator67.engine.repo.transfer import Transfer, configure, explain, open_bare

MAX_TREE_BYTES = 512 * 2**20
MAX_TREE_FILES = 50_000
SECONDS = 120.0
"""How long one exchange with a source may take in all."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MANY_PACKS = 50


class Sources:
    """Copies of source repositories below ``directory``, one per URL. For use from several threads.

    ``home`` is the address of the config repository: its credentials are shown to its own host only (a key file
    to any SSH host, since showing one gives nothing away).
    """

    def __init__(self, directory: Path, home: Address, credentials: Credentials | None = None) -> None:
        self._directory = directory
        self._home = home
        self._credentials = credentials

    def resolve(self, url: str, ref: str) -> str:
        """Return the commit that a branch, tag or commit id means at the remote, after bringing it here.

        Raises RemoteError; then nothing has changed.
        """
        address = self._address(url)
        with self._copy(address) as repository:
            if _COMMIT.fullmatch(ref) and _has(repository, ref):
                return ref
            with self._explained(address):
                commit = self._near(address, repository, ref) if address.scheme == "file" else self._far(
                    address, repository, ref)  # fmt: skip
        return commit

    def tar(self, url: str, commit: str, path: str, place: Path) -> None:
        """Write the files of a folder at a commit, which ``resolve`` has brought here, to a new tar file.

        The same content gives the same bytes: git's order, no times, no owners. Submodules are left out. Raises
        RemoteError.
        """
        address = self._address(url)
        with self._copy(address) as repository, self._own_trouble(address):
            if not _has(repository, commit):
                raise UnusableTree(f"commit {commit[:12]} of {address.url} is not here any more")
            tree = _folder(repository[commit].peel(pygit2.Tree), path, address.url, commit)
            handle, name = tempfile.mkstemp(dir=place.parent, prefix=f"{place.name}.new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    _write(repository, tree, file)
                Path(name).replace(place)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    @contextmanager
    def _copy(self, address: Address) -> Iterator[pygit2.Repository]:
        place = self._directory / hashlib.sha256(address.url.encode()).hexdigest()[:16]
        with self._own_trouble(address):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with exclusive(place):
                packs = place / "objects" / "pack"
                if packs.exists() and sum(1 for _ in packs.glob("*.pack")) > _MANY_PACKS:
                    shutil.rmtree(place)
                yield open_bare(place)

    def _near(self, address: Address, repository: pygit2.Repository, ref: str) -> str:
        source = pygit2.Repository(address.path)
        names = {name: str(source.lookup_reference(name).peel(pygit2.Commit).id) for name in source.references
                 if name.startswith(("refs/heads/", "refs/tags/"))}  # fmt: skip
        commit = names.get(f"refs/heads/{ref}") or names.get(f"refs/tags/{ref}")
        if commit is None:
            commit = ref if _COMMIT.fullmatch(ref) and _has(source, ref) else _missing(address, ref, list(names))
        if not _has(repository, commit):
            nearby.copy_commit(source, repository, commit)
        return commit

    def _far(self, address: Address, repository: pygit2.Repository, ref: str) -> str:
        transfer = Transfer(address, self._shown_to(address), SECONDS)
        remote = repository.remotes.create_anonymous(address.url)
        remote.connect(transfer)
        heads = {h.name: str(h.oid) for h in remote.list_heads(connect=False) if h.name}
        tag = f"refs/tags/{ref}"
        if f"refs/heads/{ref}" in heads:
            wanted, commit = f"refs/heads/{ref}", heads[f"refs/heads/{ref}"]
        elif tag in heads:
            wanted, commit = tag, heads.get(tag + "^{}", heads[tag])
        elif _COMMIT.fullmatch(ref):
            wanted = next((name for name, oid in heads.items() if oid == ref and not name.endswith("^{}")), ref)
            commit = ref
        else:
            _missing(address, ref, list(heads))
        if not _has(repository, commit):
            remote.fetch([f"+{wanted}:refs/incoming/{commit}"], callbacks=transfer, depth=1)
        if not _has(repository, commit):
            raise RemoteBroken(f"{address.url} sent no usable commit for {ref!r}")
        return commit

    def _address(self, url: str) -> Address:
        try:
            return parse(url)
        except BadAddress as error:
            raise MirrorFailed(str(error)) from None

    def _shown_to(self, address: Address) -> Credentials | None:
        c = self._credentials
        if c is None or address.scheme == "ssh":
            return c
        return c if self._home.is_web and origin(address.url) == origin(self._home.url) else None

    @contextmanager
    def _explained(self, address: Address) -> Iterator[None]:
        configure()
        secrets = self._credentials.secrets() if self._credentials else ()
        try:
            yield
        except (pygit2.GitError, KeyError) as error:
            raise explain(error, address, (*secrets, address.secret)) from None

    @contextmanager
    def _own_trouble(self, address: Address) -> Iterator[None]:
        try:
            yield
        except (pygit2.GitError, OSError, KeyError, ValueError) as error:
            raise MirrorFailed(f"the copy of {address.url} cannot be used: {error}") from None


def _missing(address: Address, ref: str, names: list[str]) -> str:
    branches = sorted(n.removeprefix("refs/heads/") for n in names if n.startswith("refs/heads/"))
    raise BranchMissing(f"{address.url} has no branch or tag {ref!r}; it has {', '.join(branches[:5]) or 'none'}")


def _has(repository: pygit2.Repository, commit: str) -> bool:
    try:
        return repository[commit].peel(pygit2.Tree) is not None
    except (KeyError, ValueError, pygit2.GitError):
        return False


def _folder(tree: pygit2.Tree, path: str, url: str, commit: str) -> pygit2.Tree:
    for part in (p for p in path.split("/") if p not in ("", ".")):
        try:
            inner: object = tree[part]
        except KeyError:
            inner = None
        if not isinstance(inner, pygit2.Tree):
            raise UnusableTree(f"{url} has no folder {path!r} at commit {commit[:12]}")
        tree = inner
    return tree


def _write(repository: pygit2.Repository, tree: pygit2.Tree, file: io.BufferedWriter) -> None:
    total = 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for count, (name, mode, oid) in enumerate(_entries(tree, "")):
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755 if mode in (FileMode.TREE, FileMode.BLOB_EXECUTABLE) else 0o644
            if count >= MAX_TREE_FILES:
                raise UnusableTree(f"the source has more than {MAX_TREE_FILES} files")
            if mode == FileMode.TREE:
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
                continue
            _, data = repository.odb.read(oid)
            total += len(data)
            if total > MAX_TREE_BYTES:
                raise UnusableTree(f"the source has more than {MAX_TREE_BYTES >> 20} MiB")
            if mode == FileMode.LINK:
                entry.type, entry.linkname = tarfile.SYMTYPE, os.fsdecode(data)
                tar.addfile(entry)
            else:
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def _entries(tree: pygit2.Tree, prefix: str) -> Iterator[tuple[str, int, pygit2.Oid]]:
    for child in tree:
        name = f"{prefix}{os.fsdecode(child.raw_name or b'')}"
        if child.filemode == FileMode.COMMIT:
            continue
        yield name, child.filemode, child.id
        if isinstance(child, pygit2.Tree):
            yield from _entries(child, f"{name}/")
