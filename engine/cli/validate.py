"""``automator67 validate``: checks a repository offline, a directory as it is or a commit."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import click

from automator67.schemas.near import near_hint
from automator67.schemas.problem import Problem
from automator67.schemas.reports import as_github, as_sarif, as_text


@dataclass(frozen=True, slots=True)
class _Checked:
    """What was found; ``prefix`` leads from where the command runs to the files' names."""

    files: int
    problems: tuple[Problem, ...]
    prefix: str = ""


@click.command("validate", short_help="Check a repository offline.")
@click.argument("where", default=".", metavar="[PATH|REF]")
@click.option("--path", "subdir", default="", help="The folder of the repository that holds the configuration.")
@click.option("--format", "form", type=click.Choice(["text", "json", "github", "sarif"]), default="text",
              show_default=True, help="text for people, json for programs, github for annotations of GitHub Actions, "
              "sarif for code scanning.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(where: str, subdir: str, form: str, as_json: bool) -> None:
    """Check the directory PATH (default: the current one), or the commit REF of the repository here.

    Nothing is contacted and nothing is changed. Exit code 0: valid (there may be warnings); 1: problems; 255: it
    could not be checked.
    """
    checked = _directory(Path(where), subdir) if Path(where).is_dir() else _commit(where, subdir)
    errors = sum(1 for p in checked.problems if p.severity == "error")
    if as_json or form == "json":
        found = [p.as_data() for p in checked.problems]
        summary = {"files": checked.files, "errors": errors, "warnings": len(found) - errors, "problems": found}
        click.echo(json.dumps(summary, indent=2, ensure_ascii=False))
    elif form == "sarif":
        click.echo(json.dumps(as_sarif(checked.problems, checked.prefix, _version()), indent=2, ensure_ascii=False))
    else:
        lines = as_github if form == "github" else as_text
        for line in lines(checked.problems, checked.prefix):
            click.echo(line)
        click.echo(_summary(checked.files, errors, len(checked.problems) - errors))
    raise click.exceptions.Exit(1 if errors else 0)


def _summary(files: int, errors: int, warnings: int) -> str:
    text = f"{_count(files, 'file')}, {_count(errors, 'problem') if errors else 'no problems'}"
    return f"{text}, {_count(warnings, 'warning')}" if warnings else text


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _directory(root: Path, subdir: str) -> _Checked:
    from automator67.schemas.repository import check_directory

    place = root / subdir
    if not place.is_dir():
        raise click.ClickException(f"there is no folder {subdir} in {root}")
    try:
        report = check_directory(place)
    except OSError as error:
        raise click.ClickException(f"{error.filename or place} cannot be read: {error.strerror}") from error
    if not report.files and not report.problems:
        raise click.ClickException(
            f"{place} holds no automator67.yaml and no folder such as apps/; is it the config repository? "
            "(choose its folder with --path)"
        )
    prefix = place.as_posix()
    return _Checked(report.files, report.problems, "" if prefix == "." else prefix.rstrip("/") + "/")


def _commit(ref: str, subdir: str) -> _Checked:
    if Path(ref).exists():
        raise click.ClickException(f"{ref} is a file; give the directory of the config repository, or a commit")
    import pygit2

    from automator67.engine.load import Loader
    from automator67.engine.remote_errors import RemoteError, UnknownCommit
    from automator67.engine.repo.local import LocalRepository
    from automator67.engine.repo.tree import Tree

    found = pygit2.discover_repository(str(Path.cwd()))
    if found is None:
        hint = near_hint(Path(ref).name, os.listdir())  # noqa: PTH208
        raise click.ClickException(f"there is no directory {ref}, and no git repository here to find it in{hint}")
    folder = subdir or os.environ.get("A67_PATH", "")
    try:
        repository = LocalRepository(Path(found))
        commit = repository.resolve(ref)
        tree = Tree(repository, commit, folder)
        entries = tree.entries()
        loaded = Loader().load(entries, tree.read, commit)
    except UnknownCommit as error:
        raise click.ClickException(f"there is neither a directory nor a commit {ref} here") from error
    except RemoteError as error:
        raise click.ClickException(str(error)) from error
    if not entries:
        raise click.ClickException(f"commit {commit[:12]} holds no automator67.yaml and no folder such as apps/; "
                                   "choose the folder with --path")  # fmt: skip
    return _Checked(len(entries), loaded.problems, f"{folder.strip('/')}/" if folder.strip("/.") else "")


def _version() -> str:
    from importlib import metadata

    return metadata.version("automator67")
