"""Checks a whole config repository offline: every file by itself, then all of them together."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from automator67.schemas.document import Document, read
from automator67.schemas.kinds import FOLDERS, SETTINGS, classify
from automator67.schemas.problem import Problem
from automator67.schemas.rules import check
from automator67.schemas.source import MAX_BYTES, positions

MAX_FILES = 100_000
MAX_TOTAL = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, and everything that is wrong, errors first."""

    files: int
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep the repository from being used."""
        return tuple(p for p in self.problems if p.severity == "error")


def check_documents(documents: Iterable[Document], read_again: Callable[[str], bytes]) -> list[Problem]:
    """Return the problems of documents that were read already, by themselves and together, errors first.

    ``read_again(path)`` gives a file's bytes when the position of something in it is needed.
    """
    listed = list(documents)
    found = [p for d in listed for p in d.problems]
    found += check(listed, lambda path: positions(path, read_again(path)))
    return sorted(found, key=lambda p: (p.severity != "error", p.file, p.line, p.column))


def missing_settings(paths: Iterable[str]) -> list[Problem]:
    """Return the problem that a repository of these files has no settings.

    An empty branch, or a folder that was moved, must not read as "nothing is wanted any more".
    """
    if SETTINGS in paths:
        return []
    hint = "every repository has one; it may say just name: home"
    return [Problem("no-settings", SETTINGS, 1, 1, "", "this file is missing", hint)]


def check_files(files: dict[str, bytes]) -> Report:
    """Return the report on files given by path (relative to the repository's root) and content."""
    problems = check_documents((read(path, data) for path, data in sorted(files.items())), files.__getitem__)
    return Report(len(files), tuple(problems))


def check_directory(root: Path) -> Report:
    """Return the report on a directory. Raises OSError when it cannot be read.

    Symbolic links are not followed: one that leaves the directory could make it read anything.
    """
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    total = 0
    for path in _listed(root):
        name = os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
        if path.is_symlink():
            hint = classify(name).hint if name in FOLDERS else "put the file itself here"
            problems.append(Problem("link", name, 1, 1, "", "this is a symbolic link", hint))
            continue
        try:
            data = _content(path)
        except OSError as error:
            problems.append(Problem("file", name, 1, 1, "", f"this cannot be read: {error.strerror}"))
            continue
        if data is None:
            problems.append(Problem("file", name, 1, 1, "", "this is not a file", "put a file here, or remove it"))
            continue
        total += len(data)
        if len(files) >= MAX_FILES or total > MAX_TOTAL:
            text = f"there are more than {MAX_FILES} files, or {MAX_TOTAL} bytes in all, up to this one"
            problems.append(Problem("too-large", name, 1, 1, "", text, "move out what is no configuration"))
            break
        files[name] = data
    checked = check_files(files)
    if files:
        problems += missing_settings({*files, *(p.file for p in problems)})
    return Report(checked.files, (*problems, *checked.problems))


def _content(path: Path) -> bytes | None:
    """Return at most ``MAX_BYTES`` and one byte of a file, None when it is a pipe, a device or the like.

    It is not followed when it has become a link, and a pipe that nobody writes to is not waited for.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        # One byte more than is allowed shows that the file is too large, without reading all of it.
        return file.read(MAX_BYTES + 1) if stat.S_ISREG(os.fstat(handle).st_mode) else None


def _listed(root: Path) -> list[Path]:
    """Return the files that may mean something: the settings, and everything below folders with YAML in them."""
    found: list[Path] = []
    with os.scandir(root) as entries:
        top = sorted(entries, key=lambda e: e.name)
    for entry in top:
        path = Path(entry.path)
        if entry.name in (SETTINGS, "automator67.yml") or (
            entry.name in FOLDERS and not entry.is_dir(follow_symlinks=False)
        ):
            found.append(path)
        elif entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            known = entry.name in FOLDERS
            for folder, folders, names in os.walk(path, followlinks=False):
                links = [n for n in folders if (Path(folder) / n).is_symlink()] if known else []
                wanted = names if known else [n for n in names if n.endswith((".yaml", ".yml"))]
                found += [Path(folder) / n for n in sorted([*wanted, *links])]
                folders[:] = sorted(f for f in folders if f not in links) if known else []
    return found
