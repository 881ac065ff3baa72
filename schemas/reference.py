"""The reference of every key, made of the JSON Schemas: what it means, its type, its default, an example. Pure.

``python -m automator67.schemas.reference docs/config`` writes the pages of the reference.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from automator67.schemas.kinds import YAML_KINDS, Kind, schema

FILES: Mapping[str, str] = {
    "cloud": "automator67.yaml", "app": "apps/NAME.yaml", "node": "nodes/NAME.yaml", "shard": "shards/NAME.yaml",
    "bucket": "buckets/NAME.yaml",
}  # fmt: skip
_ALSO: dict[str, Kind] = {
    "automator67": "cloud", "settings": "cloud", "apps": "app", "nodes": "node", "shards": "shard", "buckets": "bucket",
}  # fmt: skip
_TERMS = {"cron": "cron expression"}
_SIMPLE = {"string": "text", "number": "number", "boolean": "true or false", "object": "keys", "null": "nothing"}
_UNSET = object()
_PLAIN = re.compile(r"[A-Za-z0-9/$.][^#{}\[\],&*!|>'\"%@`]*")
_SPECIAL = re.compile(r": |:$|^([0-9]*\.?[0-9]+|true|false|null)$")


@dataclass(frozen=True, slots=True)
class Key:
    """One key: ``path`` begins with the kind (``app.update.strategy``), ``[]`` stands for an item of a list.

    ``default`` and ``example`` are written as YAML, empty when there is none. ``keys`` are those within it; one that
    is called NAME stands for names of your own.
    """

    path: str
    type: str
    description: str
    default: str = ""
    example: str = ""
    required: bool = False
    keys: tuple[Key, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2].removesuffix("[]")

    def as_data(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "path": self.path, "type": self.type, "description": self.description, "default": self.default,
            "example": self.example, "required": self.required, "keys": [k.as_data() for k in self.keys],
        }  # fmt: skip


class UnknownKey(Exception):
    """There is no such key; the message says what was probably meant."""


@cache
def reference(kind: Kind) -> Key:
    """Return the reference of a kind with all its keys."""
    root = schema(kind)
    return Key(kind, "file", _sentence(root["description"].partition(": ")[2]), keys=_keys(root, root, kind))


@cache
def terms() -> Mapping[str, Key]:
    """Return what type words mean that several keys share (duration, size, ...), by word."""
    found: dict[str, Key] = {}
    for kind in YAML_KINDS:
        for name, definition in schema(kind).get("$defs", {}).items():
            term = _TERMS.get(name, name)
            example = yaml_text(definition["examples"][0]) if definition.get("examples") else ""
            found.setdefault(term, Key(term, _bare(definition, schema(kind)), definition["description"], "", example))
    return dict(sorted(found.items()))


def find(path: str) -> Key:
    """Return the key a person asks for: ``app.update``, ``volumes[].name`` of ``app``, or a type word.

    Positions in lists may be left out or written as ``[]`` or ``[0]``. Raises UnknownKey.
    """
    parts = [p for p in re.sub(r"\[[^\]]*\]", "", path.strip().strip(".")).split(".") if p]
    if len(parts) == 1 and parts[0] in terms() and parts[0] not in YAML_KINDS:
        return terms()[parts[0]]
    kind: Any = _ALSO.get(parts[0], parts[0]) if parts else ""
    if kind not in YAML_KINDS:
        raise UnknownKey(f"there is no kind {parts[0] if parts else ''!r}; {_suggestion(parts)}")
    key = reference(kind)
    for n, part in enumerate(parts[1:], 1):
        inner = next((k for k in key.keys if k.name == part), None) or next(
            (k for k in key.keys if k.name == "NAME"), None
        )
        if inner is None:
            raise UnknownKey(f"there is no key {part!r} in {key.path}; {_suggestion([kind, *parts[1:]], n)}")
        key = inner
    return key


def every(key: Key) -> Iterator[Key]:
    """Yield all keys within a key, each before those within it."""
    for inner in key.keys:
        yield inner
        yield from every(inner)


def yaml_text(value: Any) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {yaml_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(yaml_text(v) for v in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str) or (_PLAIN.fullmatch(value) and not _SPECIAL.search(value)):
        return str(value)
    return f'"{value}"'


def _suggestion(parts: list[str], wrong: int = 0) -> str:
    """Say what was probably meant: the same word elsewhere, else the word most like it."""
    word = parts[wrong] if parts else ""
    places = {_plain(k.path): k.name for kind in YAML_KINDS for k in every(reference(kind)) if k.name != "NAME"}
    here = [p for p in places if not wrong or p.startswith(f"{parts[0]}.")]
    same = [p for p in here if places[p] == word] or [p for p in places if places[p] == word]
    if not same:
        near = get_close_matches(".".join(parts[: wrong + 1]), [*here, *YAML_KINDS], n=1, cutoff=0.75)
        same = near or [
            p for p in here if places[p] in get_close_matches(word, {places[p] for p in here}, n=1, cutoff=0.7)
        ]
    if same:
        return f"did you mean {' or '.join(same[:3])}?"
    return f"kinds are {', '.join(YAML_KINDS)}" if not wrong else f"see automator67 explain {'.'.join(parts[:wrong])}"


def _plain(path: str) -> str:
    return path.replace("[]", "")


def _keys(node: Mapping[str, Any], root: Mapping[str, Any], path: str) -> tuple[Key, ...]:
    """Return the keys within a value of this schema: its own, those of its items, of its alternatives."""
    if node.get("$ref") in ("#/$defs/secret", "#/$defs/labels"):
        return ()
    node = _resolved(node, root)
    found: list[Key] = []
    for name, inner in node.get("properties", {}).items():
        found.append(_key(inner, root, f"{path}.{name}", name in node.get("required", ())))
    if isinstance(named := node.get("additionalProperties"), Mapping) and "properties" in _resolved(named, root):
        found.append(_key(named, root, f"{path}.NAME", False))
    if "items" in node:
        found += _keys(node["items"], root, f"{path}[]")
    for branch in node.get("anyOf", ()):
        found += _keys(branch, root, path)
    return tuple(found)


def _key(node: Mapping[str, Any], root: Mapping[str, Any], path: str, required: bool) -> Key:
    whole = _resolved(node, root)
    default = whole.get("default", _UNSET)
    # An example of a definition that many keys share says nothing about this key.
    examples = node.get("examples") or [b["examples"][0] for b in node.get("anyOf", ()) if b.get("examples")]
    return Key(
        path, _type(node, root), _sentence(whole.get("description", "")),
        "" if default is _UNSET else yaml_text(default), yaml_text(examples[0]) if examples else "", required,
        _keys(node, root, path),
    )  # fmt: skip


def _resolved(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in node:
        return node
    definition: Mapping[str, Any] = root["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return {**definition, **node}


def _type(node: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if "$ref" in node:
        name = str(node["$ref"]).removeprefix("#/$defs/")
        return _TERMS.get(name, name)
    return _bare(node, root)


def _bare(node: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if "enum" in node:
        return "one of " + ", ".join(yaml_text(v) for v in node["enum"])
    if "const" in node:
        return yaml_text(node["const"])
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_type(branch, root) for branch in node["anyOf"]))
    kinds = [node["type"]] if isinstance(node.get("type"), str) else node.get("type", [])
    return " or ".join(_one_type(kind, node, root) for kind in kinds) or "anything"


def _one_type(kind: str, node: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if kind == "integer":
        low, high = node.get("minimum"), node.get("maximum")
        bounds = f" {low} to {high}" if high is not None else f", {low} or more" if low is not None else ""
        return f"whole number{bounds}"
    if kind == "array":
        return f"list of {_type(node.get('items', {}), root)}"
    if kind == "object" and isinstance(node.get("additionalProperties"), Mapping):
        return f"names, each with {_type(node['additionalProperties'], root)}"
    return _SIMPLE[kind]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    from automator67.schemas.reference_pages import write_pages

    write_pages(sys.argv[1])
