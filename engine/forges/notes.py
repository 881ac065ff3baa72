"""Statuses as git notes, for a remote that is nothing but git.

Under ``refs/notes/automator67`` each commit has a note with one line per context, changed in place:

    automator67/apply success  3 applied

Lines of others stay. ``git fetch origin refs/notes/automator67:refs/notes/automator67`` brings them into a clone,
``git log --notes=automator67`` shows them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

from automator67.engine.breaker import Breaker, BreakerOpen
from automator67.engine.forges.reporter import PostFailed
from automator67.engine.forges.statuses import Due, Status
from automator67.engine.remote_errors import RemoteBroken, RemoteError, RemoteRefused, RemoteUnreachable


class NoteEditor(Protocol):
    """Changes the notes of commits and has the remote take them, all of them or none."""

    def edit(self, edits: Mapping[str, Callable[[str], str]]) -> None:
        """Apply to the note of each commit (full id) its edit. Raises RemoteError."""
        ...


class NotesReporter:
    """Writes statuses as notes: one push for a whole batch."""

    def __init__(self, notes: NoteEditor, breaker: Breaker | None = None) -> None:
        """``breaker`` stands before the remote."""
        self._notes, self._breaker = notes, breaker or Breaker("the remote")

    def post(self, batch: Sequence[Due]) -> Iterator[tuple[Due, PostFailed | None]]:
        """Write all of the batch; they are taken together or not at all."""
        wanted: dict[str, list[Status]] = {}
        for item in batch:
            wanted.setdefault(item.commit, []).append(item.status)
        failure = None
        try:
            if wanted:
                with self._breaker.call(lambda error: isinstance(error, (RemoteUnreachable, RemoteBroken))):
                    self._notes.edit({commit: partial(with_lines, statuses) for commit, statuses in wanted.items()})
        except BreakerOpen as error:
            failure = PostFailed(f"notes: {error}", retry_after=error.wait)
        except RemoteError as error:
            failure = PostFailed(f"notes: {error}", permanent=isinstance(error, RemoteRefused))
        for item in batch:
            yield item, failure

    def close(self) -> None:
        """Nothing to let go of."""


def with_lines(statuses: Sequence[Status], note: str) -> str:
    """Return the note with one line for each status: its old line replaced in place, a new one put at the end."""
    lines = note.splitlines()
    for status in statuses:
        line = f"{status.context} {status.state}  {status.description}".rstrip()
        old = re.compile(rf"{re.escape(status.context)} (?:pending|success|failure|error)(?:  .*)?")
        at = next((i for i, text in enumerate(lines) if old.fullmatch(text)), None)
        if at is None:
            lines.append(line)
        else:
            lines[at] = line
    return "".join(f"{line}\n" for line in lines)
