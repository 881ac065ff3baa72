"""What a forge can tell of pull requests, and where a plan is written below one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Pull:
    """An open pull request: ``head`` is its newest commit, ``ref`` where git finds that, ``fork``: whose branch is not
    in our own repository, so that anybody may have written it."""

    number: int
    head: str
    ref: str
    fork: bool


class Reviews(Protocol):
    """The pull requests of one repository; every call may raise ``engine.apis.client.ApiError``."""

    def open_pulls(self, branch: str) -> list[Pull]:
        """Return those that ask to be merged into ``branch``."""
        ...

    def comment(self, number: int, marker: str, body: str, known: int) -> int:
        """Write our one comment below a pull request, in place of the one that is there; return its id.

        Ours begins with ``marker`` and was written by us. ``known`` is its id as last returned, 0 if not known.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
