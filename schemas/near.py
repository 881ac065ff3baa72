"""Names the word that was probably meant. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a question that names the nearest known word, or ``otherwise`` where none is near."""
    found = get_close_matches(word, [*known], n=1)
    return f"did you mean {found[0]}?" if found else otherwise


def near_hint(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the same as the end of a sentence: after a semicolon, or nothing."""
    text = near(word, known, otherwise)
    return f"; {text}" if text else ""
