"""Carries a whole Compose project over: an app for each service, each a valid file. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

import yaml

from automator67.engine.compose.making import Making, Secret
from automator67.engine.compose.project import Note, Project
from automator67.engine.compose.service import ReadFile, app_of_service
from automator67.schemas.document import read
from automator67.schemas.source import read_yaml


@dataclass(frozen=True, slots=True)
class Carried:
    """``files``: texts by path in the repository. What was not carried over is in ``notes``."""

    files: dict[str, str]
    notes: tuple[Note, ...]
    secrets: tuple[Secret, ...]


def carried(project: Project, read_file: ReadFile, *, git: str = "", only: Collection[str] = ()) -> Carried:
    """Return what the services become, those of ``only`` where it names any."""
    shared: dict[str, str] = {}
    makings: dict[str, Making] = {}
    notes = [note for note in project.notes if not only or note.service in ("", *only)]
    for service in project.services:
        if only and service not in only:
            continue
        making = app_of_service(project, service, read_file, shared, git)
        if making.document and making.name in makings:
            making.say(f"{makings[making.name].service} becomes app {making.name} already: give one another name")
            making.document.clear()
        notes += making.notes
        making.notes.clear()
        if making.document:
            makings[making.name] = making
    files = {}
    for making in makings.values():
        _order(making, makings)
        if _valid(making):
            files[f"apps/{making.name}.yaml"] = rendered(making)
        notes += making.notes
    secrets = [s for m in makings.values() if f"apps/{m.name}.yaml" in files for s in m.secrets]
    return Carried(files, tuple(notes), tuple(secrets))


def _order(making: Making, makings: Collection[str]) -> None:
    """Wait for no app that there is not."""
    asked = making.document.get("depends_on", [])
    there = [name for name in asked if name in makings]
    for name in asked:
        if name not in there:
            making.say(f"it depends on {name}, which is not carried over", "depends_on")
    if there:
        making.document["depends_on"] = there
    else:
        making.document.pop("depends_on", None)


def _valid(making: Making) -> bool:
    """Leave out what our own rules refuse, and say so; return whether something is left to run."""
    while making.document:
        document = read(f"apps/{making.name}.yaml", rendered(making).encode())
        problem = next((p for p in document.problems if p.severity == "error"), None)
        if problem is None:
            return True
        key = problem.path.partition(".")[0].partition("[")[0]
        making.say(f"{key or 'it'} is not carried over: {problem.message}", key)
        if key not in making.document or key in ("image", "source"):
            making.document.clear()
        making.document.pop(key, None)
    return False


def rendered(making: Making) -> str:
    """Return an app as the text of its file."""
    text = yaml.safe_dump(making.document, sort_keys=False, allow_unicode=True, width=110)
    if read_yaml("", text.encode()).value != making.document:
        # A word that YAML 1.1 and 1.2 read differently: JSON has one meaning only.
        text = json.dumps(making.document, indent=2, ensure_ascii=False) + "\n"
    return f"# From service {making.service} of {making.project.file}.\n{text}"
