"""Texts that differ in values only: the text with ``$n`` in their place, and the values. Pure.

Only values that no plan looks at but as values become slots: compared ones, and those of an INSERT. All others
(ordinals, LIMIT, precisions, intervals) stay in the text, so that texts which differ there are different statements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_TEXT = 4096
"""Longer texts have no template."""
HEAD = 20
"""So many characters at the beginning tell which templates a text may match."""

_NUMBER, _STRING = r"-?[0-9]{1,18}", r"'[^'\\]*'(?!')"
_END = r"(?=\s*(?:$|[;),]|\s(?:and|or|order|limit|group|for|returning|where|on|union|from)\b))"
_SKIPPED = r"""(?P<skip>[a-z_]+'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*)"""


def _scanner(before: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=[{before}])\s*(?P<value>{_NUMBER}|{_STRING}){_END}|{_SKIPPED}", re.IGNORECASE)


_SCANNERS = {"INSERT": _scanner("(,="), "UPDATE": _scanner("=<>+-")}
_OTHER = _scanner("=<>")
_MOMENTS = frozenset(("now", "today", "tomorrow", "yesterday", "allballs", "epoch"))


@dataclass(frozen=True, slots=True)
class Template:
    """``text`` with parameters in place of ``values`` (as they would be given in text form)."""

    text: str
    values: tuple[str, ...]
    pattern: re.Pattern[str]

    @property
    def head(self) -> str:
        """What every text that matches begins with."""
        return self.text[:HEAD]


def template_of(text: str) -> Template | None:
    """Return a text's template; None where it has none."""
    if len(text) > MAX_TEXT or "$" in text or "/*" in text or text[:HEAD].find("'") >= 0:
        return None
    scanner = _SCANNERS.get(text.lstrip()[:6].upper(), _OTHER)
    parts: list[str] = []
    patterns: list[str] = []
    values: list[str] = []
    at = 0
    for start, end in _slots(scanner, text):
        if start < HEAD:
            return None
        value = text[start:end]
        values.append(value[1:-1] if value[0] == "'" else value)
        parts += (text[at:start], f"${len(values)}")
        patterns += (re.escape(text[at:start]), f"({_STRING})" if value[0] == "'" else f"({_NUMBER})")
        at = end
    if not values or any(value.strip().lower() in _MOMENTS for value in values):
        return None
    pattern = re.compile("".join(patterns) + re.escape(text[at:]))
    return Template("".join([*parts, text[at:]]), tuple(values), pattern)


def _slots(scanner: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    for found in scanner.finditer(text):
        if found["value"] is not None:
            yield found.span("value")


def values_in(pattern: re.Pattern[str], text: str) -> tuple[str, ...] | None:
    """Return the values a text has in the slots of a template, None when it is not of that template."""
    found = pattern.fullmatch(text)
    if found is None:
        return None
    values = tuple(v[1:-1] if v[0] == "'" else v for v in found.groups())
    return None if any(v[:1].isalpha() and v.strip().lower() in _MOMENTS for v in values) else values
