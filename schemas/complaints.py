"""Says in words what a JSON Schema finds wrong: what is there, what should be, and what to write instead. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Any, Final

from automator67.schemas.source import MAX_PROBLEMS, Path

_TYPES = {
    "string": "a text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
    "array": "a list", "object": "keys and values", "null": "nothing",
}  # fmt: skip
_BOUNDS = {
    "minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than", "exclusiveMaximum": "less than",
}  # fmt: skip
_SENSITIVE = frozenset(
    {"password", "secret", "token", "to", "url", "access_key", "secret_key", "client_secret", "registry", "key", "env"}
)
"""Where somebody may have written a secret by mistake: such a value is never repeated in a message."""
_MOST_ERRORS: Final = 4 * MAX_PROBLEMS
_LONGEST_GUESS: Final = 60
_FORMLESS: Final = "it does not have the form that is needed"
_ALSO: Final = {
    "ports": "port", "expose": "port", "environment": "env", "envs": "env", "env_file": "env", "entrypoint": "command",
    "cmd": "command", "args": "command", "healthcheck": "health", "probe": "health", "build": "source", "git": "source",
    "scale": "replicas", "count": "replicas", "instances": "replicas", "deploy": "update", "rollout": "update",
    "hostname": "domain", "host": "domain", "url": "domain", "cron": "schedule", "mounts": "volumes",
    "placement": "place", "affinity": "place", "constraints": "place", "limits": "resources",
    "stop_grace_period": "stop_timeout",
    "type": "kind", "size": "capacity", "location": "region", "nodes": "providers", "stores": "providers",
}  # fmt: skip
"""Words of other tools, and what they are called here; one counts only where that key exists."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong at ``path``, and what to write instead."""

    code: str
    path: Path
    message: str
    hint: str = ""


def complaints(schema: Mapping[str, Any], value: Any) -> list[Complaint]:
    """Return what is wrong with a document, at most ``MAX_PROBLEMS`` things; nothing when it is valid."""
    found: dict[tuple[Path, str], Complaint] = {}
    for error in islice(_validator()(schema).iter_errors(value), _MOST_ERRORS):
        for complaint in islice(_of(error, schema), MAX_PROBLEMS):
            found.setdefault((complaint.path, complaint.code), complaint)
    return list(found.values())[:MAX_PROBLEMS]


@cache
def _validator() -> Any:
    """Return the validator class; only a document that is wrong needs it, and its import takes long."""
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def pattern(_: Any, wanted: str, instance: Any, __: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not _compiled(wanted).search(instance):
            yield ValidationError("pattern")

    checked: Any = extend(Draft202012Validator, {"pattern": pattern})  # type: ignore[no-untyped-call]
    return checked


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern of JSON Schema as one of Python, where $ is also true before a last line end."""
    return re.compile(re.sub(r"(\\.|\[[^\]]*\])|\$", lambda m: m[1] or r"\Z", pattern))


def _of(error: Any, schema: Mapping[str, Any]) -> Iterator[Complaint]:
    path: Path = tuple(error.absolute_path)
    keyword, wanted, value = str(error.validator), error.validator_value, error.instance
    shown = _safe(path, value)
    if keyword == "anyOf":
        yield from _any_of(error, schema)
    elif keyword == "additionalProperties" and wanted is False:
        known = list(error.schema.get("properties", {}))
        for key in value:
            if key not in known and not key.startswith("x-"):
                yield Complaint(
                    "unknown-key", (*path, key), f"unknown key {key[:60]!r}", _belongs(key, known, path, schema)
                )
    elif keyword == "required":
        missing = [key for key in wanted if key not in value]
        yield Complaint(
            "missing-key", path, f"the key {missing[0]!r} is missing", _example(error.schema, missing[0], schema)
        )
    elif keyword == "type":
        allowed = [wanted] if isinstance(wanted, str) else list(wanted)
        must = " or ".join(_TYPES[t] for t in allowed)
        yield Complaint("wrong-type", path, f"{shown} is not {must}", _how(error.schema, allowed, value))
    elif keyword in ("enum", "const"):
        allowed = list(wanted) if keyword == "enum" else [wanted]
        near = _nearest(str(value), [str(a) for a in allowed])
        yield Complaint("wrong-value", path, f"{shown} is not one of {_listed(allowed)}", near)
    elif keyword == "pattern":
        key_error = "propertyNames" in error.absolute_schema_path
        what = "this key" if key_error else shown
        place = (*path, value) if key_error else path
        yield Complaint(
            "bad-format", place, f"{what} is not valid here: {_description(error.schema)}", _sample(error.schema)
        )
    elif keyword in _BOUNDS:
        yield Complaint("out-of-range", path, f"{shown} must be {_BOUNDS[keyword]} {wanted}")
    elif keyword in ("minItems", "minLength", "minProperties"):
        yield Complaint("too-short", path, f"at least {wanted} needed here, {len(value)} given", _sample(error.schema))
    elif keyword in ("maxItems", "maxLength", "maxProperties"):
        yield Complaint("too-long", path, f"at most {wanted} allowed here, {len(value)} given")
    elif keyword == "uniqueItems":
        yield Complaint("duplicate", path, "an entry is here twice", "remove one of the two")
    else:
        yield Complaint("invalid", path, f"{shown} is not valid here: {_description(error.schema)}")


def _any_of(error: Any, schema: Mapping[str, Any]) -> Iterator[Complaint]:
    """Explain by the alternative that comes closest: of the value's type, and the fewest things wrong."""
    branches: dict[int, list[Any]] = {}
    for inner in error.context or []:
        branches.setdefault(int(inner.relative_schema_path[0]), []).append(inner)
    typed = [b for b in branches.values() if not any(e.validator == "type" and not e.relative_path for e in b)]
    fitting = [b for b in typed if not any(e.validator == "const" and not e.relative_path for e in b)]
    if not fitting:
        hint = _sample(error.schema) or _sample(error.schema.get("anyOf", [{}])[0])
        path: Path = tuple(error.absolute_path)
        text = f"{_safe(path, error.instance)} is not valid here: {_description(error.schema)}"
        yield Complaint("wrong-type", path, text, hint)
        return
    for inner in min(fitting, key=len):
        for complaint in _of(inner, schema):
            said = _description(error.schema) if not inner.relative_path else ""
            text = complaint.message.replace(_FORMLESS, said or _FORMLESS)
            yield Complaint(complaint.code, complaint.path, text, complaint.hint or _sample(error.schema))


def _belongs(key: str, known: list[str], path: Path, schema: Mapping[str, Any]) -> str:
    """Say what an unknown key should be: another word here, else the same word in another place."""
    if len(key) > _LONGEST_GUESS:
        return "keys of your own begin with x-"
    if key == "name" and not path:
        return "the name of the file is its name: remove this"
    if _ALSO.get(key.lower()) in known:
        return f"did you mean {_ALSO[key.lower()]}?"
    if near := get_close_matches(key, known, n=1, cutoff=0.8):
        return f"did you mean {near[0]}?"
    elsewhere = {place[:-1] for place in _places(schema, schema, ()) if place[-1] == key}
    if len(elsewhere) == 1:
        place = elsewhere.pop()
        return f"it belongs into {'.'.join(place)}" if place else "it belongs to the top of the file"
    return _nearest(key, known)


def _places(node: Any, root: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield where each key of a schema is."""
    for name, inner in node.get("properties", {}).items():
        yield (*at, name)
        yield from _places(inner, root, (*at, name))
    if isinstance(node.get("items"), Mapping):
        yield from _places(node["items"], root, at)
    for branch in node.get("anyOf", ()):
        yield from _places(branch, root, at)


def _nearest(word: str, known: Iterable[str]) -> str:
    choices = list(known)
    near = get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    if len(choices) <= 12 and choices:
        return f"known here: {', '.join(sorted(choices))}"
    return "keys of your own begin with x-" if choices else ""


def _listed(values: list[Any]) -> str:
    return ", ".join(_plain(v) for v in values)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _safe(path: Path, value: Any) -> str:
    """Return what is at a path as it may be shown: a text where a secret belongs could be one."""
    hidden = _SENSITIVE.intersection(path) and not isinstance(value, (dict, list)) and value is not None
    return "the value" if hidden else _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:59] + "…")
    if isinstance(value, dict):
        return "a group of keys"
    if isinstance(value, list):
        return "a list"
    return "an empty value" if value is None else _plain(value)


def _description(schema: Any) -> str:
    text = schema.get("description", "") if isinstance(schema, dict) else ""
    first = text.split(". ")[0].rstrip(".")
    return first[:1].lower() + first[1:] if first else _FORMLESS


def _sample(schema: Any) -> str:
    examples = schema.get("examples") if isinstance(schema, dict) else None
    return f"write for example {_yaml(examples[0])}" if examples else ""


def _how(schema: Any, allowed: list[str], value: Any) -> str:
    if sample := _sample(schema):
        return sample
    if allowed == ["string"] and isinstance(value, (int, float, bool)):
        return f'write "{_plain(value)}"'
    if allowed == ["integer"] and isinstance(value, str) and value.isdigit():
        return f"write {value} without quotes"
    if allowed == ["array"] and isinstance(value, str):
        return f"write [{value[:60]}]"
    return ""


def _example(schema: Any, key: str, root: Mapping[str, Any]) -> str:
    prop = schema.get("properties", {}).get(key, {}) if isinstance(schema, dict) else {}
    name = prop.get("$ref", "").removeprefix("#/$defs/")
    merged = {**root.get("$defs", {}).get(name, {}), **prop}
    text = _description(merged)
    examples = merged.get("examples")
    return f"write for example {key}: {_yaml(examples[0])}" if examples else f"it is {text}"


def _yaml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(v) for v in value) + "]"
    return _plain(value)
