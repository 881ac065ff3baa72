"""Secrets as files: on a tmpfs of this machine, so that they are never on a disk and gone after a reboot.

One directory per instance, below one that belongs to this user alone: /run/automator67-agent for root, where /run is a
tmpfs, else /dev/shm/automator67-UID. Containers get single files of it as read-only mounts: the tmpfs that the Docker
Engine itself offers is empty again whenever it restarts a container.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Sequence

from automator67.agent.trees import remove_tree


class SecretFilesError(Exception):
    """Files cannot be given; the text is for a person and holds no value."""


def directory(cloud: str, node: str, instance: str) -> str:
    """Return the directory of an instance's files; it need not exist. Raises SecretFilesError."""
    return f"{_base()}/{cloud}.{node}.{instance}"


def write(where: str, files: Sequence[tuple[str, bytes]], owner: tuple[int, int] | None = None) -> None:
    """Make the directory anew with these files (path below it, content), mode 0600.

    With an ``owner`` (user and group id) all of it becomes theirs at the end; before, nobody else can touch it.
    Raises SecretFilesError.
    """
    try:
        _make_base(os.path.dirname(where))
        remove(where)
        os.mkdir(where, 0o700)
        made = [where]
        for path, content in files:
            at = where
            for part in path.strip("/").split("/")[:-1]:
                at = f"{at}/{part}"
                if at not in made:
                    os.mkdir(at, 0o700)
                    made.append(at)
            made.append(f"{at}/{path.rpartition('/')[2]}")
            _write(made[-1], content)
        if owner is not None:
            for path in reversed(made):
                os.chown(path, *owner, follow_symlinks=False)
    except PermissionError:
        raise SecretFilesError(
            f"the agent may not give files to user {owner[0] if owner else os.geteuid()}: let it run as root"
        ) from None
    except OSError as e:
        raise SecretFilesError(f"its secret files cannot be written: {e.strerror}") from None


def give(where: str, names: Sequence[str], owner: tuple[int, int]) -> None:
    """Make files of a directory belong to a user and group id. Raises SecretFilesError."""
    if owner == (os.geteuid(), os.getegid()):
        return
    try:
        for name in names:
            os.chown(f"{where}/{name}", *owner, follow_symlinks=False)
    except PermissionError:
        if owner[0] == 0:
            # Root in a container reads them all the same.
            return
        raise SecretFilesError(f"the agent may not give files to user {owner[0]}: let it run as root") from None
    except OSError as e:
        raise SecretFilesError(f"its secret files cannot be given to user {owner[0]}: {e.strerror}") from None


def remove(where: str) -> None:
    """Remove the files of an instance, if there are any. Raises OSError."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        remove_tree(where)


def forget(cloud: str, node: str, instance: str) -> None:
    """Remove the files of an instance wherever they would be. Raises OSError."""
    with contextlib.suppress(SecretFilesError):
        remove(directory(cloud, node, instance))


def forget_all_but(cloud: str, node: str, instances: Collection[str]) -> None:
    """Remove what a crash left of instances of this node that are gone. Raises OSError."""
    try:
        base = _base()
    except SecretFilesError:
        return
    ours = f"{cloud}.{node}."
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(base):
            if name.startswith(ours) and name.removeprefix(ours) not in instances:
                remove(f"{base}/{name}")


def _base() -> str:
    uid = os.geteuid()
    candidates = (["/run/automator67-agent"] if uid == 0 else []) + [f"/dev/shm/automator67-{uid}"]  # noqa: S108
    mounts = _tmpfs_mounts()
    for path in candidates:
        if os.path.dirname(path) in mounts or path in mounts:
            return path
    raise SecretFilesError("secrets as files need a tmpfs at /dev/shm, and there is none on this node")


def _tmpfs_mounts() -> frozenset[str]:
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    # The file system's type comes after the dash; before it the number of fields varies (proc(5)).
    return frozenset(f[4] for f in lines if f[f.index("-") + 1] in ("tmpfs", "ramfs"))


def _make_base(base: str) -> None:
    # Others may walk through to what is theirs, and see nothing on the way.
    with contextlib.suppress(FileExistsError):
        os.mkdir(base, 0o711)
    found = os.lstat(base)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise SecretFilesError(f"{base} is not this user's own directory: somebody else made it; remove it")
    os.chmod(base, 0o711)  # noqa: S103


def _write(path: str, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
