"""Which newer tag an app should have. Pure.

A pattern is a tag in which each ``*`` stands for a number: ``1.4.*`` matches 1.4.10, and neither 1.4.10-rc1 nor 1.4.
Matching tags are ordered by those numbers, left to right, as versions are (https://semver.org, section 11).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

DIGEST = "digest"
"""The policy that follows what a tag means, instead of newer tags."""
_LONGEST_NUMBER = 18


def newest(track: str, tags: Iterable[str], current: str) -> str | None:
    """Return the newest tag that matches ``track``, None when there is none newer than ``current``.

    A current tag that does not match is older than all that do.
    """
    candidates = [(numbers, tag) for tag in tags if (numbers := matched(track, tag)) is not None]
    if not candidates:
        return None
    # Of tags with equal numbers (1.4.1 and 1.4.01) the one that is plainly written.
    best, tag = max(candidates, key=lambda c: (c[0], -len(c[1]), c[1]))
    have = matched(track, current)
    return tag if have is None or best > have else None


def matched(track: str, tag: str) -> tuple[int, ...] | None:
    """Return the numbers that the stars of a pattern stand for in a tag, None when it does not match."""
    pattern = rf"([0-9]{{1,{_LONGEST_NUMBER}}})".join(re.escape(part) for part in track.split("*"))
    found = re.fullmatch(pattern, tag, re.ASCII)
    return tuple(int(number) for number in found.groups()) if found else None


def with_image(text: str, old: str, new: str) -> str | None:
    """Return an app's file with another image and nothing else changed; None where its place is not certain."""
    name = re.escape(old)
    places = [m.start() for m in re.finditer(rf"(?<![\w./:@-]){name}(?![\w./:@-])", text)]
    key = r"""(?m)^\s*["']?image["']?\s*:\s*["']?"""
    keyed = [m.start(1) for m in re.finditer(rf"""{key}({name})(?=["'\s,#]|$)""", text)]
    places = keyed if len(keyed) == 1 else places
    if len(places) != 1:
        return None
    return text[: places[0]] + new + text[places[0] + len(old) :]
