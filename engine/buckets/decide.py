"""Decides which changes of a batch may happen, in order, each seeing those before it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from automator67.engine.buckets.errors import BucketError, NotFound, QuotaExceeded, Refused, Unavailable
from automator67.engine.buckets.records import Change, Drop, Put, Version
from automator67.schemas.units import human_bytes


@dataclass
class Judge:
    """What is so before the batch, and after what was accepted of it.

    ``newest(key)`` is the present version or marker, ``knows(content)`` whether a content exists, ``usable(blobs)``
    whether none of these blobs was given up, ``uploading(id)`` whether an upload is still open.
    ``room`` is how many bytes the bucket may still take (None: any).
    """

    newest: Callable[[str], Version | None]
    knows: Callable[[str], bool]
    usable: Callable[[Iterable[str]], bool]
    uploading: Callable[[str], bool]
    room: int | None = None
    _changed: dict[str, Version | None] = field(default_factory=dict)
    _uncertain: set[str] = field(default_factory=set)
    _purging: bool = False
    """Whether a content that is known may be gone by then."""

    def refusal(self, change: Change) -> BucketError | None:
        """Return why a change may not happen; None when it may, and then the next ones see it."""
        if isinstance(change, Put):
            return self._put(change)
        if isinstance(change, Drop):
            if change.how == "purge" and (refusal := self._purge(change)) is not None:
                return refusal
            self._uncertain.add(change.key)
        return None

    def _purge(self, change: Drop) -> BucketError | None:
        """What was chosen to be purged may have been brought back since."""
        if change.key in self._uncertain or change.key in self._changed:
            return Refused("the object is being changed; try again")
        now = self.newest(change.key)
        if now is not None and now.id == change.version and not now.marker:
            return Refused("the version is the present one again")
        self._purging = True
        return None

    def _put(self, change: Put) -> BucketError | None:
        v = change.version
        if change.expect is not None:
            if v.key in self._uncertain:
                return Refused("the object is being changed; try again")
            now = self._changed[v.key] if v.key in self._changed else self.newest(v.key)
            there = now is not None and not now.marker
            if change.expect.absent and there:
                return Refused("there is an object of this name already")
            if change.expect.etag is not None and not there:
                return NotFound("there is no such object")
            if change.expect.etag is not None and now is not None and change.expect.etag != now.etag:
                return Refused("the object is another one by now")
        fresh = {c.id for c in change.new}
        if not all(c in fresh or self.knows(c) for c in v.contents):
            return NotFound("what is to be copied has been removed meanwhile")
        if self._purging and not fresh.issuperset(v.contents):
            return Unavailable("what is to be copied may be removed just now; try again")
        if change.upload and not self.uploading(change.upload):
            return NotFound("the upload was aborted or completed meanwhile")
        if not self.usable(chunk.blob for c in change.new for chunk in c.chunks if chunk.blob):
            return Unavailable("the upload lasted so long that it was taken for abandoned; try again")
        if self.room is not None:
            if v.size > self.room:
                return QuotaExceeded(f"the bucket is full: {human_bytes(max(0, self.room))} are left of its quota")
            self.room -= v.size
        self._changed[v.key] = v
        return None
