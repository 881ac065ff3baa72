"""The meaning of the words of the store for a person who glances: each has a tone, and each tone a shape of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Tone = Literal["ok", "busy", "warn", "bad", "idle"]

_TONES: Final[Mapping[str, Mapping[str, Tone]]] = {
    "sync": {
        "synced": "ok",
        "progressing": "busy",
        "held": "warn",
        "out-of-sync": "warn",
        "blocked": "bad",
    },
    "health": {
        "healthy": "ok",
        "progressing": "busy",
        "starting": "busy",
        "degraded": "warn",
        "unhealthy": "bad",
        "missing": "bad",
    },
    "drift": {"none": "ok", "drifted": "warn"},
    "node": {
        "healthy": "ok",
        "maintenance": "busy",
        "suspect": "warn",
        "failing": "warn",
        "unavailable": "bad",
        "recovering": "busy",
        "revoked": "bad",
    },
    "phase": {
        "running": "ok",
        "pending": "busy",
        "pulling": "busy",
        "starting": "busy",
        "draining": "busy",
        "stopping": "busy",
        "paused": "warn",
        "exited": "bad",
        "failed": "bad",
        "missing": "bad",
    },
    "commit": {
        "applied": "ok",
        "pending": "busy",
        "applying": "busy",
        "failed": "bad",
        "invalid": "bad",
    },
    "post": {"success": "ok", "pending": "busy", "failure": "bad", "error": "bad"},
    "step": {"done": "ok", "intent": "busy", "failed": "bad"},
    "test": {"done": "ok", "failed": "bad"},
    "run": {
        "wanted": "busy",
        "running": "busy",
        "succeeded": "ok",
        "failed": "bad",
        "timed out": "bad",
        "lost": "bad",
        "stopped": "warn",
        "skipped": "idle",
    },
    "incident": {
        "suspect": "warn",
        "failing": "warn",
        "unavailable": "bad",
        "recovering": "busy",
        "degraded": "warn",
        "missing": "bad",
        "progressing": "busy",
        "held": "warn",
        "blocked": "bad",
        "drifted": "warn",
        "failed": "bad",
        "quota": "warn",
        "over": "ok",
    },
    "runtime": {"ok": "ok", "degraded": "warn", "down": "bad"},
}
_SAID: Final[Mapping[tuple[str, str], str]] = {
    ("drift", "none"): "no drift",
    ("drift", "unknown"): "drift unknown",
    ("health", "unknown"): "health unknown",
    ("health", "none"): "no probe",
    ("sync", "progressing"): "rolling out",
    ("sync", "out-of-sync"): "out of sync",
    ("health", "progressing"): "starting",
    ("node", "never"): "not joined",
    ("step", "intent"): "under way",
    ("run", "wanted"): "waiting",
    ("test", "done"): "restores",
    ("test", "failed"): "does not restore",
    ("test", ""): "not tested",
}
_RANK: Final[Mapping[Tone, int]] = {"bad": 0, "warn": 1, "busy": 2, "idle": 3, "ok": 4}


def tone(kind: str, word: str) -> Tone:
    """Return the tone of a word of a kind (``sync``, ``health``, ``node``, ...); an unknown word is ``idle``."""
    return _TONES.get(kind, {}).get(word, "idle")


def said(kind: str, word: str) -> str:
    """Return the word as it is written on the page."""
    return _SAID.get((kind, word), word or "unknown")


def worst(*tones: Tone) -> Tone:
    """Return the tone that needs attention most; ``ok`` when there is none."""
    return min(tones, key=_RANK.__getitem__, default="ok")


def rank(one: Tone) -> int:
    """Return the place of a tone in a list that has what is wrong first."""
    return _RANK[one]
