"""Reads one YAML file that may be hostile: bounded in size, depth and expansion; every refusal has a position.

The grammar is libyaml's; what a plain word means follows the core schema of YAML 1.2 (yaml.org/spec/1.2.2, 10.3):
only ``true`` and ``false`` are booleans, ``on``, ``no``, ``22:22`` and ``2026-01-01`` are texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from automator67.schemas.problem import Problem

MAX_BYTES: Final = 2**20
MAX_DEPTH: Final = 50
MAX_NODES: Final = 50_000
MAX_PROBLEMS: Final = 50

Path = tuple[str | int, ...]
Position = tuple[int, int]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+\Z")
_BASED = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
"""What YAML does not allow (1.2.2, 5.1), and what turns the direction of text so that a review reads something else
than what is parsed (CVE-2021-42574)."""
_MAX_DIGITS = 18
_EXACT = 2.0**53
_ODD_KEY = re.compile(r"[^\w$/-]|.{61}")
_MAX_SHOWN = 60
_STR_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_CORE_TAGS = frozenset(f"tag:yaml.org,2002:{t}" for t in ("str", "int", "float", "bool", "null", "map", "seq"))
_NUMBER_START = frozenset("0123456789+-.")


@dataclass(slots=True)
class Source:
    """What a file says. ``value`` is None when it could not be read; ``lossy`` are the places of numbers and booleans
    whose spelling would be lost (``1.10``, ``True``)."""

    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    lossy: list[Path] = field(default_factory=list)


class _Refused(Exception):
    def __init__(self, code: str, mark: Any, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.mark, self.message, self.hint = code, mark, message, hint


def read_yaml(file: str, data: bytes) -> Source:
    """Return what the YAML document in ``data`` says; never raises, whatever the bytes are."""
    source = Source()
    text = _decoded(file, data, source)
    if text is None:
        return source
    builder = _Builder(file, source, positions=None)
    source.value = builder.run(text)
    if source.problems:
        source.value = None
    return source


def positions(file: str, data: bytes) -> dict[Path, Position]:
    """Return the line and column (from 1) of every key and item, by its path; what cannot be read is left out."""
    found: dict[Path, Position] = {}
    source = Source()
    text = _decoded(file, data, source)
    if text is not None:
        _Builder(file, source, positions=found).run(text)
    return found


def _decoded(file: str, data: bytes, source: Source) -> str | None:
    def refuse(code: str, message: str, hint: str, line: int = 1, column: int = 1) -> None:
        source.problems.append(Problem(code, file, line, column, "", message, hint))

    if len(data) > MAX_BYTES:
        refuse("too-large", f"the file has {len(data)} bytes, more than {MAX_BYTES}", "split it")
        return None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        refuse("encoding", "the file is text in UTF-16", "save it as UTF-8")
        return None
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        refuse("encoding", "the file is not UTF-8", "save it as UTF-8", *_place(before))
        return None
    if found := _FORBIDDEN.search(text):
        what = f"the file has the invisible character U+{ord(found[0]):04X}"
        refuse("encoding", what, "remove it: text must say what it looks like", *_place(text[: found.start()]))
        return None
    return text


def _place(before: str) -> Position:
    """Return line and column, in characters, of what comes after ``before``."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


class _Builder:
    """Builds the value from libyaml's events; with ``positions`` it also notes where everything is."""

    def __init__(self, file: str, source: Source, positions: dict[Path, Position] | None) -> None:
        self._file = file
        self._source = source
        self._positions = positions
        self._nodes = 0
        self._written = 0
        self._anchors: dict[str, tuple[Any, int, int]] = {}

    def run(self, text: str) -> Any:
        events = self._events(text)
        try:
            next(events)
            event = next(events)
            if isinstance(event, yaml.StreamEndEvent):
                return {}
            value = self._value(next(events), events, (), 0)
            next(events)
            after = next(events)
            if isinstance(after, yaml.DocumentStartEvent):
                raise _Refused("documents", after.start_mark, "the file has more than one document", "remove the ---")
        except _Refused as error:
            self._problem(error.code, error.mark, (), error.message, error.hint)
            return None
        return {} if value is None else value

    def _events(self, text: str) -> Iterator[Any]:
        try:
            yield from yaml.parse(text, Loader=yaml.CSafeLoader)
        except yaml.MarkedYAMLError as error:
            what = " ".join(filter(None, (error.problem, error.context)))
            raise _Refused("syntax", error.problem_mark, f"this is not YAML: {what}", _syntax_hint(what)) from None
        except (yaml.YAMLError, RecursionError, MemoryError, ValueError) as error:
            reason = " ".join(str(getattr(error, "reason", error)).split())[:200]
            raise _Refused("syntax", None, f"this is not YAML: {reason}") from None

    def _value(self, event: Any, events: Iterator[Any], path: Path, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Refused("too-many-nodes", event.start_mark, f"more than {MAX_NODES} values, aliases expanded")
        if depth > MAX_DEPTH:
            raise _Refused("too-deep", event.start_mark, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before, written = self._nodes, self._written
        tag = event.tag
        if tag is not None and tag not in _CORE_TAGS and tag != "!":
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            raise _Refused("tag", event.start_mark, f"the tag {shown[:60]} is not allowed", "remove it")
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(events, path, depth)
        else:
            value = self._mapping(events, path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._nodes - before + 1, self._written - written)
        return value

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise _Refused("alias", event.start_mark, f"*{event.anchor[:40]} is not defined before it is used")
        value, weight, length = self._anchors[event.anchor]
        self._nodes += weight
        if self._nodes > MAX_NODES:
            raise _Refused("too-many-nodes", event.start_mark, f"more than {MAX_NODES} values, aliases expanded")
        # Few values can be long ones: written out (in the store, in a message) they would be as large again each time.
        self._written += length
        if self._written > MAX_BYTES:
            raise _Refused("too-large", event.start_mark, f"more than {MAX_BYTES} characters, aliases expanded")
        return value

    def _sequence(self, events: Iterator[Any], path: Path, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            place = (*path, len(items))
            self._note(place, event)
            items.append(self._value(event, events, place, depth + 1))
        return items

    def _mapping(self, events: Iterator[Any], path: Path, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        merged: list[Any] = []
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _Refused("key", event.start_mark, "a key must be a plain word", "write key: value")
            key, merge = event.value, event.implicit[0]
            self._written += len(key)
            self._refuse_nul(event, (*path, key))
            place = (*path, key)
            if key in mapping:
                hint = "remove one of the two"
                self._problem("duplicate-key", event.start_mark, place, f"the key {key[:60]!r} is here twice", hint)
            self._note(place, event)
            value = self._value(next(events), events, place, depth + 1)
            if key == "<<" and merge:
                merged += value if isinstance(value, list) else [value]
                if not all(isinstance(m, dict) for m in merged):
                    raise _Refused("key", event.start_mark, "<< takes keys and values", "write <<: *NAME")
            else:
                mapping[key] = value
        for extra in merged:
            mapping = extra | mapping
        return mapping

    def _scalar(self, event: Any, path: Path) -> Any:
        text: str = event.value
        self._written += len(text)
        self._refuse_nul(event, path)
        if event.tag in _STR_TAGS or (event.tag is None and not event.implicit[0]):
            return text
        if text in _BOOL:
            if text not in ("true", "false"):
                self._source.lossy.append(path)
            return _BOOL[text]
        if text in _NULL:
            return None
        if text[0] not in _NUMBER_START:
            return text
        number = _number(text)
        if number is _REFUSED:
            self._problem("number", event.start_mark, path, f"{text[:40]} is not a usable number", "write a finite one")
            return 0
        if number is None:
            return text
        if str(number) != text:
            self._source.lossy.append(path)
        return number

    def _refuse_nul(self, event: Any, path: Path) -> None:
        # An escape can make one; no environment, path or argument can hold it.
        if "\0" in event.value:
            self._problem("encoding", event.start_mark, path, "the text has a NUL character", "remove it")

    def _note(self, path: Path, event: Any) -> None:
        if self._positions is not None and path not in self._positions:
            self._positions[path] = (event.start_mark.line + 1, event.start_mark.column + 1)

    def _problem(self, code: str, mark: Any, path: Path, message: str, hint: str = "") -> None:
        if len(self._source.problems) < MAX_PROBLEMS:
            line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
            self._source.problems.append(Problem(code, self._file, line, column, dotted(path), message, hint))


_REFUSED = object()


def _number(text: str) -> Any:
    """Return the number a plain word is, None when it is a text, ``_REFUSED`` when it is infinite or huge."""
    if _INT.match(text):
        return int(text) if len(text) <= _MAX_DIGITS else _REFUSED
    if _BASED.match(text):
        return int(text, 0) if len(text) <= _MAX_DIGITS else _REFUSED
    if _FLOAT.match(text):
        value = float(text)
        if value - value != 0:
            return _REFUSED
        # JSON Schema takes 2.0 for an integer; whoever counts with it wants an int.
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    return _REFUSED if _SPECIAL.match(text) else None


def dotted(path: Path) -> str:
    """Return a path as people write it: ``tables.events.ranges[1].shard``; odd keys are quoted, as in ``x["a b"]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _ODD_KEY.search(part) or not part:
            shown = part if len(part) <= _MAX_SHOWN else part[: _MAX_SHOWN - 1] + "…"
            text += json.dumps([shown])
        else:
            text += f".{part}" if text else part
    return text


def _syntax_hint(what: str) -> str:
    if "tab" in what or "\\t" in what or "cannot start any token" in what:
        return "indent with spaces, and quote texts that begin with @ or `"
    if "mapping values are not allowed" in what:
        return "quote texts that contain ': '"
    return ""
