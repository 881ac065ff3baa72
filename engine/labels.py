"""Labels of resources as pairs of texts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def label_pairs(labels: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return labels as they were written in YAML, sorted; true and false are the words."""
    return tuple(
        sorted((str(k), "true" if v is True else "false" if v is False else str(v)) for k, v in labels.items())
    )
