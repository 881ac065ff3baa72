"""One comment below a pull request, written once and then kept up to date, at whichever forge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from automator67.engine.apis.client import ApiError


class Comment(NamedTuple):
    """A comment: its id, who wrote it, and what it says."""

    id: int
    author: int
    body: str


class Comments(Protocol):
    """The comments of a repository's pull requests; every call may raise ApiError."""

    def listed(self, number: int) -> Iterable[Comment]:
        """Return those below a pull request."""

    def written(self, number: int, body: str) -> int:
        """Write one; return its id."""

    def changed(self, number: int, comment: int, body: str) -> int:
        """Give one another text; return its id."""

    def myself(self) -> int:
        """Return who the token is."""


def keep(at: Comments, number: int, marker: str, body: str, known: int) -> int:
    """Have our comment say ``body``; return its id, which is ``known`` unless that is 0 or gone. Raises ApiError.

    Ours begins with the marker and is by us: a marker alone anybody can write.
    """
    ours = known or next((c.id for c in at.listed(number) if c.body.startswith(marker) and c.author == at.myself()), 0)
    if ours:
        try:
            return at.changed(number, ours, body)
        except ApiError as error:
            if not error.missing:
                raise
    return at.written(number, body)


def id_of(item: Any, forge: str) -> int:
    """Return the id that an answer has. Raises ApiError."""
    found = item.get("id") if isinstance(item, dict) else None
    if not isinstance(found, int):
        raise ApiError(f"{forge} answers with something that has no id", 200)
    return found
