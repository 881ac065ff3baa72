"""Keeps values of secrets out of texts: whatever is logged, stored or shown has ``[secret NAME]`` in their place. Pure.

By value, not by the name of a field: a password in an error text, in a line an app prints, or in a URL is found too.
Looked for are the value itself, each long line of it, and how it looks percent-encoded, in JSON, and in base64
wherever in a longer base64 text it may begin.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

SHORTEST = 6
"""Shorter values are not looked for: they would be found everywhere."""
_SHORTEST_LINE = 12


class Redactor:
    """All values that are known, and the texts they may look like. One thread at a time may let it learn."""

    def __init__(self) -> None:
        self._forms: dict[str, tuple[tuple[str, str], ...]] = {}

    def learn(self, name: str, value: bytes) -> None:
        """Look for a value from now on; it is not forgotten, since an older one may still be in use somewhere."""
        for form in forms(value):
            known = self._forms.get(form[:SHORTEST], ())
            if all(form != other for other, _ in known):
                # The longest first: what is left of a longer one would still tell something.
                pairs = sorted([*known, (form, f"[secret {name}]")], key=lambda pair: -len(pair[0]))
                self._forms[form[:SHORTEST]] = tuple(pairs)

    def text(self, text: str) -> str:
        """Return a text with every known value replaced."""
        known = self._forms
        if not known:
            return text
        out: list[str] = []
        begin = at = 0
        last = len(text) - SHORTEST
        while at <= last:
            pairs = known.get(text[at : at + SHORTEST])
            found = next((p for p in pairs if text.startswith(p[0], at)), None) if pairs else None
            if found is None:
                at += 1
                continue
            out += [text[begin:at], found[1]]
            begin = at = at + len(found[0])
        return "".join([*out, text[begin:]]) if out else text

    def fields(self, data: Any, free: frozenset[str]) -> Any:
        """Return JSON data with the texts below keys in ``free`` replaced.

        Others stay: a value such as ``running`` must not make a report unreadable.
        """
        if isinstance(data, Mapping):
            return {key: self._all(v) if key in free else self.fields(v, free) for key, v in data.items()}
        return [self.fields(item, free) for item in data] if isinstance(data, list) else data

    def _all(self, data: Any) -> Any:
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, list):
            return [self._all(item) for item in data]
        return {key: self._all(v) for key, v in data.items()} if isinstance(data, Mapping) else data


def forms(value: bytes) -> set[str]:
    """Return the texts that tell a value; none for one that is too short."""
    if len(value.strip()) < SHORTEST:
        return set()
    found = {*_base64(value)}
    try:
        text = value.decode().strip()
    except UnicodeDecodeError:
        return {form for form in found if len(form) >= SHORTEST}
    found |= {*_base64(text.encode())}
    found |= {text, quote(text, safe=""), quote(text), quote_plus(text), json.dumps(text)[1:-1]}
    found.add(json.dumps(text, ensure_ascii=False)[1:-1])
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) > 1:
        found |= {line for line in lines if len(line) >= _SHORTEST_LINE and not line.startswith("-----")}
    return {form for form in found if len(form) >= SHORTEST}


def _base64(value: bytes) -> Iterator[str]:
    """Yield what base64 of any text shows of a value in it: three ways, by where in a group of three it begins."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value).decode()
        # Without the characters in which bits of what is around it are mixed.
        inner = encoded[-(-before * 8 // 6) : (before + len(value)) * 8 // 6]
        yield inner
        yield inner.translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")
