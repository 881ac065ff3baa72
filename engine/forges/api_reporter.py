"""Posts statuses one after the other through a forge's API, and says in words why one was not taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from automator67.engine.apis.client import ApiError
from automator67.engine.forges.reporter import PostFailed
from automator67.engine.forges.statuses import Due


class StatusApi(Protocol):
    """A forge that takes statuses."""

    def post_status(self, due: Due) -> None:
        """Show a status. Raises ApiError."""

    def close(self) -> None:
        """Let go of connections."""


class ApiReporter:
    """The statuses of one repository."""

    def __init__(self, forge: StatusApi) -> None:
        self._forge = forge

    def post(self, batch: Sequence[Due]) -> Iterator[tuple[Due, PostFailed | None]]:
        """Post each."""
        for item in batch:
            yield item, self._try(item)

    def close(self) -> None:
        """Close the connection."""
        self._forge.close()

    def _try(self, item: Due) -> PostFailed | None:
        try:
            self._forge.post_status(item)
        except ApiError as error:
            # What it refuses for a reason of its own it refuses again; a commit may still be on its way to it.
            permanent = 400 <= error.status < 500 and error.status not in (404, 409, 429)
            return PostFailed(str(error), retry_after=error.retry_after, permanent=permanent)
        return None
