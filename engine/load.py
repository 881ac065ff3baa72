"""Loads what a commit asks for: files of its tree, checked, as typed values. A file is parsed once per content."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from automator67.engine.convert import app_of, node_of, settings_of
from automator67.engine.desired import App, Desired, Node, Origin, Other
from automator67.engine.facts import shipped
from automator67.engine.secrets.contents import bound
from automator67.engine.secrets.vault import Opener, Vault
from automator67.engine.settings import Settings
from automator67.engine.tiers import known, tier_of
from automator67.schemas.document import Document, read
from automator67.schemas.kinds import FOLDERS, YAML_KINDS, classify
from automator67.schemas.problem import Problem
from automator67.schemas.repository import MAX_TOTAL, check_documents, missing_settings
from automator67.schemas.source import MAX_BYTES

_FILE, _LINK, _SUBMODULE = 0o100644, 0o120000, 0o160000


class Entry(Protocol):
    """A file of a tree: path relative to the configured folder, id of its content, size in bytes, git's mode."""

    @property
    def path(self) -> str: ...
    @property
    def blob(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def mode(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """``desired`` is None when ``problems`` has errors; warnings are among the problems in both cases.

    The one exception are errors in files of ``secrets/``: they block the apps that use them, and nothing else.
    """

    desired: Desired | None
    problems: tuple[Problem, ...] = ()
    vault: Vault | None = field(default=None, compare=False)
    """The secrets of the commit, where ``desired`` is not None."""


@dataclass(frozen=True, slots=True)
class _Parsed:
    document: Document
    resource: Settings | Node | App | Other | None


class Loader:
    """Loads commits one after another, keeping what was parsed for the next one; secrets open with ``opener``."""

    def __init__(self, opener: Opener | None = None) -> None:
        self._opener = opener
        self._parsed: dict[tuple[str, str], _Parsed] = {}
        self._before: dict[tuple[str, str], _Parsed] = {}
        self._problems: tuple[Problem, ...] = ()
        self._checked: frozenset[tuple[str, str]] = frozenset()

    def load(self, entries: Iterable[Entry], read_blob: Callable[[str], bytes], commit: str) -> Loaded:
        """Return what the files ask for. ``read_blob(id)`` gives the content of a blob."""
        parsed: dict[tuple[str, str], _Parsed] = {}
        refused: list[Problem] = []
        total = 0
        for entry in entries:
            total += min(entry.size, MAX_BYTES)
            if problem := _unreadable(entry, total):
                refused.append(problem)
                if problem.code == "too-much":
                    break
                if classify(entry.path).kind == "secret":
                    # The secret exists all the same: it is the apps that use it which cannot be acted on.
                    parsed[entry.path, entry.blob] = _named_only(entry.path)
                continue
            key = (entry.path, entry.blob)
            # The load before the last counts too: a commit and its revert alternate.
            known = self._parsed.get(key) or self._before.get(key)
            parsed[key] = known or _parse(entry.path, entry.blob, read_blob)
        self._before, self._parsed = self._parsed, parsed
        blobs = dict(parsed.keys())
        present = frozenset(parsed)
        if present != self._checked or not parsed:
            self._problems = tuple(
                check_documents((p.document for p in parsed.values()), lambda path: read_blob(blobs[path]))
            )
            self._checked = present
        if not any(p.code == "too-much" for p in refused):
            refused += missing_settings({*blobs, *(p.file for p in refused)})
        problems = (*refused, *self._problems)
        if any(p.severity == "error" and classify(p.file).kind != "secret" for p in problems):
            return Loaded(None, problems)
        desired = _desired(commit, list(parsed.values()))
        places = {name: Origin(path, blob) for (path, blob), p in parsed.items() for name in p.document.holds}
        vault = Vault(desired.settings.name, places, read_blob, self._opener)
        apps = {name: bound(app, vault) for name, app in desired.apps.items()}
        return Loaded(replace(desired, apps=apps), problems, vault)


def _unreadable(entry: Entry, total: int) -> Problem | None:
    if entry.mode == _FILE and entry.size <= MAX_BYTES and total <= MAX_TOTAL:
        return None
    what = classify(entry.path)
    if what.kind is None and not what.trouble:
        # Nothing is read of it, whatever it is: a README may be a link.
        return None

    def problem(code: str, message: str, hint: str) -> Problem:
        return Problem(code, entry.path, 1, 1, "", message, hint)

    if entry.mode == _LINK:
        hint = what.hint if entry.path in FOLDERS else "put the file itself here"
        return problem("link", "this is a symbolic link", hint)
    if entry.mode == _SUBMODULE:
        return problem("submodule", "this is a submodule", "put the files themselves here")
    if entry.size > MAX_BYTES:
        return problem("too-large", f"the file has {entry.size} bytes, more than {MAX_BYTES}", "split it")
    if total > MAX_TOTAL:
        text = f"up to this file there are more than {MAX_TOTAL} bytes in all"
        return problem("too-much", text, "move out what is no configuration")
    return None


def _parse(path: str, blob: str, read_blob: Callable[[str], bytes]) -> _Parsed:
    # Of queries and what means nothing to us only the name counts here.
    document = read(path, read_blob(blob) if classify(path).kind in (*YAML_KINDS, "secret") else b"")
    value, origin = document.value, Origin(path, blob)
    resource: Settings | Node | App | Other | None = None
    if value is not None:
        match document.kind:
            case "cloud":
                resource = settings_of(value)
            case "node":
                resource = node_of(document.name, value, origin)
            case "app":
                resource = app_of(document.name, value, origin)
            case "shard" | "bucket":
                resource = Other(document.kind, document.name, origin, value)
    return _Parsed(document, resource)


def _named_only(path: str) -> _Parsed:
    name = classify(path).name
    return _Parsed(Document(path, "secret", name, None, holds=(name,) if path.endswith(".sealed") else ()), None)


def _desired(commit: str, parsed: list[_Parsed]) -> Desired:
    resources = [p.resource for p in parsed]
    settings = next((r for r in resources if isinstance(r, Settings)), Settings())
    facts = known(shipped(), settings.document.get("facts", {}))
    return Desired(
        commit,
        settings,
        {r.name: replace(r, tier=tier_of(facts, r.kind, r.document)) for r in resources if isinstance(r, Node)},
        {r.name: r for r in resources if isinstance(r, App)},
        tuple(r for r in resources if isinstance(r, Other)),
        frozenset(name for p in parsed for name in p.document.holds),
    )
