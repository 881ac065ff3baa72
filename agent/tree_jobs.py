"""Brings the source of a process to this node: unpacked for one instance, complete or not at all. For the worker.

Nothing in it may lead outside: names and links are checked against the directory, and nothing is written through a
link. What is half unpacked when the worker is killed is thrown away by the next attempt.
"""

from __future__ import annotations

import os
import posixpath
import pwd
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from automator67.agent.image_tar import PiecesFile
from automator67.agent.transfer import Download, TransferError, link_of
from automator67.agent.trees import remove_tree

MAX_BYTES = 512 * 2**20
MAX_FILES = 50_000


class TreeError(Exception):
    """The source cannot be used; the text is for a person."""


def fetch(args: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Have a source below an instance's directory as ``tree``. Raises TreeError."""
    place = f"{args['state']}/instances/{args['instance']}/tree"
    if os.path.isdir(place):
        return
    progress("fetching its source")
    try:
        remove_tree(f"{place}.new")
        os.makedirs(f"{place}.new", mode=0o755)
        unpack(iter(Download(link_of(args["state"]), "GET", f"/v1/trees/{args['tree']}")), Path(f"{place}.new"))
        if args["user"]:
            _give(f"{place}.new", args["user"])
        os.rename(f"{place}.new", place)
    except (TransferError, tarfile.TarError) as e:
        raise TreeError(f"its source could not be fetched: {e}") from None
    except OSError as e:
        raise TreeError(f"its source cannot be unpacked: {e.strerror or e}") from None


def unpack(pieces: Iterator[bytes], root: Path) -> None:
    """Unpack a tar file into an empty directory. Raises TreeError for what may not be in it."""
    total = 0
    links: set[str] = set()
    reader: Any = PiecesFile(pieces)
    with tarfile.open(fileobj=reader, mode="r|") as tar:
        for count, member in enumerate(tar):
            name = _inside(member.name, links)
            total += member.size
            if total > MAX_BYTES or count >= MAX_FILES:
                raise TreeError(f"its source has more than {MAX_BYTES >> 20} MiB or {MAX_FILES} files")
            target = root / name
            if member.isdir():
                target.mkdir(mode=0o755, exist_ok=True)
            elif member.issym():
                leads = posixpath.join(posixpath.dirname(name), member.linkname)
                if posixpath.isabs(member.linkname) or _leaves(leads):
                    raise TreeError(f"the link {name} in its source leads outside")
                links.add(name)
                target.symlink_to(member.linkname)
            elif member.isreg():
                file = tar.extractfile(member)
                assert file is not None
                with target.open("xb") as out:
                    shutil.copyfileobj(file, out, 256 * 1024)
                target.chmod(0o755 if member.mode & 0o100 else 0o644)
            else:
                raise TreeError(f"{name} in its source is neither file, directory nor link")
    for _ in pieces:
        # The rest, of which only the checksum matters: it is checked when the stream ends.
        pass


def _inside(name: str, links: set[str]) -> str:
    """Return a member's name below the root. Raises TreeError for one that leads elsewhere."""
    clean = posixpath.normpath(name)
    parents = clean.split("/")[:-1]
    through = any("/".join(parents[: n + 1]) in links for n in range(len(parents))) or clean in links
    if posixpath.isabs(name) or _leaves(clean) or through or "\0" in name or clean == ".":
        raise TreeError(f"{name!r} in its source leads outside")
    return clean


def _leaves(path: str) -> bool:
    clean = posixpath.normpath(path)
    return clean == ".." or clean.startswith("../")


def _give(place: str, user: str) -> None:
    try:
        found = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise TreeError(f"there is no user {user} on this machine") from None
    for directory, directories, files in os.walk(place):
        for name in (".", *directories, *files):
            os.chown(f"{directory}/{name}", found.pw_uid, found.pw_gid, follow_symlinks=False)
