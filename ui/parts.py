"""Renders a page as parts, each with a version, so that an open page replaces only what changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import render_template
from markupsafe import Markup

_TIME_TEXT: Final = re.compile(r"(<time [^>]*>)[^<]*(</time>)")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a page; ``version`` changes when what it says changes (not when only time has passed)."""

    id: str
    html: Markup
    version: str


def render_parts(names: Iterable[str], context: Mapping[str, Any]) -> tuple[Part, ...]:
    """Render ``part_<name>.html`` for each name."""
    parts = []
    for name in names:
        html = render_template(f"part_{name}.html", **context)
        timeless = _TIME_TEXT.sub(r"\1\2", html)
        parts.append(Part(name, Markup(html), hashlib.sha256(timeless.encode()).hexdigest()[:16]))  # noqa: S704
    return tuple(parts)


def version_of(parts: Iterable[Part]) -> str:
    """Return one version over all parts, fit for an ETag."""
    return hashlib.sha256(" ".join(p.version for p in parts).encode()).hexdigest()[:24]
