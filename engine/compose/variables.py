"""Variables in a Compose file: ``$NAME``, ``${NAME}`` and what may follow a name (Compose Specification, 12). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*))")
_MOST_DEEP = 20
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)\Z", re.S)


class VariableProblem(Exception):
    """A variable has no value where it must have one, or is written in a way that means nothing; one line."""


def interpolated(text: str, values: Mapping[str, str], unset: set[str], depth: int = 0) -> str:
    """Return a text with its variables replaced; names without any value are added to ``unset``, and are empty.

    Raises VariableProblem.
    """
    if depth > _MOST_DEEP:
        raise VariableProblem("variables are nested too deep")
    found, at = [], 0
    while (match := _VARIABLE.search(text, at)) is not None:
        found.append(text[at : match.start()])
        at = match.end()
        if match["escaped"]:
            found.append("$")
        elif match["plain"]:
            found.append(_plain(match["plain"], values, unset))
        else:
            end = _closing(text, at)
            found.append(_braced(match["braced"], text[at:end], values, unset, depth))
            at = end + 1
    return "".join(found) + text[at:]


def _plain(name: str, values: Mapping[str, str], unset: set[str]) -> str:
    if name not in values:
        unset.add(name)
    return values.get(name, "")


def _braced(name: str, rest: str, values: Mapping[str, str], unset: set[str], depth: int) -> str:
    """Return what ``${NAME<rest>}`` means. A colon makes an empty value count as none."""
    colon = rest.startswith(":")
    sign, word = rest[colon : colon + 1], rest[colon + 1 :]
    there = bool(values.get(name)) if colon else name in values
    if sign == "-":
        return values[name] if there else interpolated(word, values, unset, depth + 1)
    if sign == "+":
        return interpolated(word, values, unset, depth + 1) if there else ""
    if sign == "?":
        if not there:
            raise VariableProblem(f"{name} needs a value{f': {word}' if word else ''}; write it into .env")
        return values[name]
    if rest:
        raise VariableProblem(f"${{{name}{rest[:20]}}} means nothing")
    return _plain(name, values, unset)


def _closing(text: str, at: int) -> int:
    depth = 1
    for n in range(at, len(text)):
        depth += (text[n] == "{" and text[n - 1] == "$") - (text[n] == "}")
        if not depth:
            return n
    raise VariableProblem(f"a }} is missing after {text[max(0, at - 20) : at]}")


def read_env(text: str) -> dict[str, str]:
    """Return what an env file says: ``NAME=value`` lines, quoted or not, comments; a bare name says nothing."""
    found = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None or line.lstrip().startswith("#"):
            continue
        value = match[2].strip()
        if len(value) > 1 and value[0] in "\"'" and (end := value.find(value[0], 1)) > 0:
            inner = value[1:end]
            value = inner.replace("\\n", "\n") if value[0] == '"' else inner
        else:
            value = re.split(r"\s#", value, maxsplit=1)[0].rstrip()
        found[match[1]] = value
    return found
