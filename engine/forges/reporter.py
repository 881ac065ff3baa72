"""What can take statuses to where people see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from automator67.engine.forges.statuses import Due


class PostFailed(Exception):
    """A status was not taken; the text is one line for a person, without any secret.

    ``retry_after``: seconds the forge asks to wait. ``permanent``: trying again at once is useless, a person must do
    something first.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, permanent: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.permanent = permanent


class Reporter(Protocol):
    """Takes a batch of statuses; from one thread at a time."""

    def post(self, batch: Sequence[Due]) -> Iterator[tuple[Due, PostFailed | None]]:
        """Post each, and yield each once it is known whether the forge has it, so that the caller can record it.

        A status that arrives twice does no harm. Yields every item of the batch exactly once.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
