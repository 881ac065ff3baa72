"""A bucket: objects put, found, read, copied and deleted. Every method that changes something returns when it lasts.

All errors are of ``errors.BucketError``'s family.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from automator67.engine.buckets import lookup
from automator67.engine.buckets.commit import Committer
from automator67.engine.buckets.errors import BadRequest, NotFound
from automator67.engine.buckets.fleet import Fleet
from automator67.engine.buckets.keys import Keys
from automator67.engine.buckets.layout import Layout
from automator67.engine.buckets.ledger import Ledger
from automator67.engine.buckets.lookup import Page
from automator67.engine.buckets.multipart import Uploads
from automator67.engine.buckets.reading import Reader
from automator67.engine.buckets.records import About, Content, Drop, Expect, Put, Tag, Version, check_key
from automator67.engine.buckets.rules import Rules
from automator67.engine.buckets.writing import Writer, made, new_id


class Bucket:
    """One bucket, open in this process; ``opening.py`` makes it. To be used from one event loop."""

    def __init__(self, rules: Rules, ledger: Ledger, fleet: Fleet, keys: Keys) -> None:
        self.name, self.rules = rules.name, rules
        self.ledger, self.fleet, self.keys = ledger, fleet, keys
        self.layout = Layout(rules.name)
        self.session = new_id()
        self._writer = Writer(ledger, fleet, keys, self.layout, self.session, rules.chunk)
        self.reader = Reader(ledger, fleet, keys)
        self.committer = Committer(ledger, fleet, keys, self.layout, self.session, rules.quota)
        self.uploads = Uploads(ledger, self._writer, self.committer)

    async def close(self) -> None:
        """Let what is under way come to its end, and let go of the metadata."""
        await self.committer.close()
        await self.reader.close()
        self.ledger.close()

    async def put(self, key: str, chunks: AsyncIterator[bytes], about: About, expect: Expect | None = None) -> Version:
        """Keep an object under ``key``; if ``expect`` is given, only when it holds at the end of the upload too.

        Raises Refused, QuotaExceeded, Unavailable, BadRequest; nothing is to be seen of the object then. What
        ``chunks`` raises ends the upload, and is raised here.
        """
        check_key(key)
        content, segment = await self._writer.write(chunks, pack=True)
        new: tuple[Content, ...] = (content,) if content is not None else ()
        version = made(key, about, new)
        done = await self.committer.submit(Put(version, new, expect), segment)
        assert isinstance(done, Put)
        return done.version

    async def head(self, key: str, version: str | None = None) -> Version:
        """Return the present version of an object, or the given one (which may be a marker). Raises NotFound."""
        check_key(key)
        if version is None:
            found = lookup.present(self.ledger.reader, key)
        else:
            found = lookup.version(self.ledger.reader, key, version)
            found = None if found is not None and found.deleted_at is not None else found
        if found is None:
            raise NotFound(f"there is no {'such version' if version else 'object'} {key} in bucket {self.name}")
        return found

    async def newest(self, key: str) -> Version | None:
        """Return what is newest under a name: an object, or the marker that says that it was deleted."""
        return lookup.newest(self.ledger.reader, key)

    async def read(self, version: Version, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes of a version from ``start`` up to ``end`` (not included), in pieces of a chunk at most.

        Raises Corrupt, Unavailable, BadRequest; what was yielded before was right.
        """
        end = version.size if end is None else end
        if not 0 <= start <= end <= version.size:
            raise BadRequest(f"the object has {version.size} bytes; {start} to {end} is outside of it")
        async for piece in self.reader.read(version, start, end):
            yield piece

    async def copy(self, version: Version, key: str, about: About, expect: Expect | None = None) -> Version:
        """Make an object of the same content under ``key``; no data is moved. Raises as ``put`` and NotFound."""
        check_key(key)
        copied = replace(made(key, about), size=version.size, contents=version.contents, parts=version.parts)
        done = await self.committer.submit(Put(copied, (), expect))
        assert isinstance(done, Put)
        return done.version

    async def delete(self, key: str, version: str | None = None, expect: Expect | None = None) -> Version | None:
        """Delete an object, or one version for itself; both can be restored for ``keep_deleted``.

        Return the marker that stands for the deletion, or the version that was deleted; None when there was nothing.
        """
        check_key(key)
        if version is not None:
            found = lookup.version(self.ledger.reader, key, version)
            if found is None or found.deleted_at is not None:
                return None
            await self.committer.submit(Drop(key, version, "hide", time.time()))
            return found
        if lookup.present(self.ledger.reader, key) is None and expect is None and not self.rules.versions:
            return None
        marker = replace(made(key, About("")), marker=True, etag="")
        done = await self.committer.submit(Put(marker, (), expect))
        assert isinstance(done, Put)
        return done.version

    async def restore(self, key: str, version: str | None = None) -> Version:
        """Make a deleted object, or an older version of it, the present one again. Raises NotFound."""
        check_key(key)
        versions = lookup.history(self.ledger.reader, key)
        found = next((v for v in versions if not v.marker and version in (None, v.id)), None)
        if found is None:
            raise NotFound(f"there is nothing left of {key} in bucket {self.name}")
        if version is None and found.latest:
            return found
        return await self.copy(found, key, found.about)

    async def list(self, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000) -> Page:
        """Return present objects, sorted by name, from behind ``after``; with what ``delimiter`` rolls up."""
        return lookup.page(self.ledger.reader, prefix, delimiter, after, limit)

    async def versions(
        self, prefix: str = "", after: tuple[str, int] | None = None, limit: int = 1000, *, deleted: bool = False
    ) -> Sequence[Version]:
        """Return versions and markers by name, the newest first; ``after``: name and ``order`` of the last known.

        ``deleted``: also versions that were deleted and can be restored.
        """
        return lookup.all_versions(self.ledger.reader, prefix, after, limit, deleted=deleted)

    async def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        """Give a version other tags."""
        await self.committer.submit(Tag(version.key, version.id, dict(tags)))
