"""What a command copies from and to: a file here, or one in a bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click

_INSIDE = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?)(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Inside:
    """A name in a bucket; ``key`` may be a prefix, or empty."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.bucket}:{self.key}"


def inside(text: str) -> Inside:
    """Return what BUCKET[:NAME] says. Raises click.ClickException."""
    found = _INSIDE.fullmatch(text)
    if found is None:
        raise click.ClickException(f"{text} is no place in a bucket: write BUCKET:NAME, such as photos:2026/a.jpg")
    return Inside(found[1], found[2] or "")


def maybe_inside(text: str) -> Inside | None:
    """Return the place in a bucket that a text with a colon names; None: it is a file here (``./a:b`` is one, too)."""
    found = _INSIDE.fullmatch(text)
    return inside(text) if found is not None and found[2] is not None else None
