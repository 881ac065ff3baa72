"""Checks a whole config repository offline: every file by itself, then all of them together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from automator67.schemas.document import Document, read
from automator67.schemas.kinds import FOLDERS, SETTINGS
from automator67.schemas.problem import Problem
from automator67.schemas.rules import check
from automator67.schemas.source import MAX_BYTES, positions

MAX_FILES = 100_000
MAX_TOTAL = 512 * 2**20


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
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            problems.append(Problem("link", name, 1, 1, "", "this is a symbolic link", "put the file itself here"))
            continue
        size = path.stat().st_size
        total += size
        if len(files) >= MAX_FILES or total > MAX_TOTAL:
            problems.append(Problem("too-large", name, 1, 1, "", "the repository is too large to be checked"))
            break
        with path.open("rb") as file:
            # One byte more than is allowed shows that the file is too large, without reading all of it.
            files[name] = file.read(MAX_BYTES + 1)
    checked = check_files(files)
    return Report(checked.files, (*problems, *checked.problems))


def _listed(root: Path) -> list[Path]:
    """Return the files that may mean something: the settings, and everything below folders with YAML in them."""
    found: list[Path] = []
    with os.scandir(root) as entries:
        top = sorted(entries, key=lambda e: e.name)
    for entry in top:
        path = Path(entry.path)
        if entry.name in (SETTINGS, "automator67.yml") or (entry.is_symlink() and entry.name in FOLDERS):
            found.append(path)
        elif entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            known = entry.name in FOLDERS
            for folder, folders, names in os.walk(path, followlinks=False):
                links = [n for n in folders if (Path(folder) / n).is_symlink()] if known else []
                wanted = names if known else [n for n in names if n.endswith((".yaml", ".yml"))]
                found += [Path(folder) / n for n in sorted([*wanted, *links])]
                folders[:] = sorted(f for f in folders if f not in links) if known else []
    return found
