"""Who is told of what: the rules of ``automator67.yaml`` as typed values. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from automator67.engine.labels import label_pairs
from automator67.schemas.units import seconds

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
DEFAULT_ON = ("failing", "unavailable", "missing", "degraded", "held", "blocked", "failed", "quota", "recovered")
RECOVERED = "recovered"
"""In ``on``: whether the end of an incident is told."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Somebody who is told: an Apprise URL as it was written (``url``), or the name of the secret that holds it."""

    url: str = ""
    secret: str = ""

    def opened(self, secret: Callable[[str], str]) -> str:
        """Return the Apprise URL; ``secret(name)`` returns a secret's value, and what it raises goes on."""
        return (secret(self.secret) if self.secret else self.url).strip()

    @property
    def id(self) -> str:
        """The same for the same target, and no secret: ``slack-url``, or digits for a URL that stands in the file."""
        return self.secret or f"url-{hashlib.sha256(self.url.encode()).hexdigest()[:10]}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of ``alerts``. Times are seconds; ``labels`` are pairs that a resource must have."""

    target: Target
    on: frozenset[str] = frozenset(DEFAULT_ON)
    wait: float = 0.0
    severity: Severity = "warning"
    labels: frozenset[tuple[str, str]] = frozenset()
    group: float = 5.0
    repeat: float = 14400.0
    template: str = ""

    def fits(self, labels: Iterable[tuple[str, str]]) -> bool:
        """Whether a resource with these labels is this rule's business."""
        return self.labels <= frozenset(labels)


def rules_of(document: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules of a validated automator67.yaml."""
    return tuple(_rule(entry) for entry in document.get("alerts", ()))


def by_target(rules: Iterable[Rule]) -> dict[Target, list[Rule]]:
    """Return the rules of each target, in the order of the file."""
    found: dict[Target, list[Rule]] = {}
    for rule in rules:
        found.setdefault(rule.target, []).append(rule)
    return found


def _rule(entry: Mapping[str, Any]) -> Rule:
    to = entry["to"]
    return Rule(
        Target(secret=to["secret"]) if isinstance(to, Mapping) else Target(str(to)),
        frozenset(entry.get("on", DEFAULT_ON)),
        seconds(entry.get("for", 0)),
        entry.get("severity", "warning"),
        frozenset(label_pairs(entry.get("resources", {}))),
        seconds(entry.get("group", "5s")),
        seconds(entry.get("repeat", "4h")),
        entry.get("template", ""),
    )
