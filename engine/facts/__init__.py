"""What providers give for nothing, as data with a date and a source: ``free-tiers.yaml`` beside this."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@cache
def shipped() -> Mapping[str, Mapping[str, Any]]:
    """Return the facts that come with this version, by kind of node."""
    text = files(__name__).joinpath("free-tiers.yaml").read_text(encoding="utf-8")
    facts: Mapping[str, Mapping[str, Any]] = yaml.safe_load(text)
    return facts
