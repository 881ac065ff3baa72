"""Uploads in parts: each part is a content of its own, and completing only names them in order."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Sequence

from automator67.engine.buckets import lookup
from automator67.engine.buckets.blobs import usable
from automator67.engine.buckets.changes import add_content, drop_content
from automator67.engine.buckets.commit import Committer
from automator67.engine.buckets.errors import BadRequest, NotFound, Unavailable
from automator67.engine.buckets.ledger import Ledger
from automator67.engine.buckets.lookup import Part, Upload
from automator67.engine.buckets.records import About, Content, Expect, Put, Version, about_text, check_key
from automator67.engine.buckets.writing import Writer, made, new_id, random_etag

MAX_PARTS = 10_000


class Uploads:
    """The multipart uploads of one bucket. They last over restarts, until completed or aborted."""

    def __init__(self, ledger: Ledger, writer: Writer, committer: Committer) -> None:
        self._ledger, self._writer, self._committer = ledger, writer, committer

    async def begin(self, key: str, about: About) -> str:
        """Open an upload; return its id."""
        check_key(key)
        id_ = new_id()
        row = (id_, key, about_text(about), time.time())
        await self._ledger.write(lambda tx: tx.execute("INSERT INTO uploads VALUES (?, ?, ?, ?)", row))
        return id_

    async def put_part(self, upload: str, number: int, chunks: AsyncIterator[bytes]) -> Part:
        """Keep a part, in place of an earlier one of this number. Raises NotFound, BadRequest, Unavailable."""
        if not 1 <= number <= MAX_PARTS:
            raise BadRequest(f"parts have the numbers 1 to {MAX_PARTS}, not {number}")
        self.find(upload)
        content, _ = await self._writer.write(chunks, pack=False)
        etag, size = random_etag(), content.size if content else 0
        part = Part(number, content.id if content else "", etag, size, time.time())

        def keep(tx: sqlite3.Connection) -> None:
            if lookup.upload(tx, upload) is None:
                raise NotFound("the upload was aborted or completed meanwhile")
            _forget(tx, upload, number)
            if content is not None:
                if not usable(tx, (c.blob for c in content.chunks)):
                    raise Unavailable("the upload lasted so long that it was taken for abandoned; try again")
                add_content(tx, content, "", 0)
            tx.execute("INSERT INTO upload_parts VALUES (?, ?, ?, ?, ?, ?)",
                       (upload, number, bytes.fromhex(part.content), etag, part.size, part.at))  # fmt: skip

        # Nobody may complete the upload while one of its parts is replaced.
        async with self._ledger.writing():
            await self._ledger.write(keep)
        return part

    def find(self, upload: str) -> Upload:
        """Return an open upload. Raises NotFound."""
        found = lookup.upload(self._ledger.reader, upload)
        if found is None:
            raise NotFound("there is no such upload; it may have been completed or aborted")
        return found

    def parts(self, upload: str, after: int = 0, limit: int = 1000) -> list[Part]:
        """Return the parts of an upload, by number, from behind ``after``. Raises NotFound."""
        self.find(upload)
        return lookup.parts(self._ledger.reader, upload, after, limit)

    def list(self, prefix: str = "", after: tuple[str, str] = ("", ""), limit: int = 1000) -> list[Upload]:
        """Return open uploads, by name and id, from behind ``after`` (name and id)."""
        return lookup.uploads(self._ledger.reader, prefix, after, limit)

    async def complete(self, upload: str, parts: Sequence[tuple[int, str]], expect: Expect | None = None) -> Version:
        """Make an object of parts, given by number and ETag in ascending order.

        Raises NotFound, BadRequest (a part that is not there or another one, or no part at all), Refused.
        """
        found = self.find(upload)
        there = {p.number: p for p in lookup.parts(self._ledger.reader, upload)}
        numbers = [n for n, _ in parts]
        if not parts or numbers != sorted(set(numbers)):
            raise BadRequest("parts must be listed in ascending order, each once, and at least one")
        for number, etag in parts:
            if number not in there or there[number].etag != etag:
                raise BadRequest(f"part {number} is not there, or is another one than the ETag says")
        chosen = [there[n] for n in numbers if there[n].content]
        new = tuple(self._content(p) for p in chosen)
        version = made(found.key, found.about, new, len(parts))
        done = await self._committer.submit(Put(version, new, expect, upload))
        assert isinstance(done, Put)
        return done.version

    async def abort(self, upload: str) -> None:
        """Give an upload up, with all its parts. Raises NotFound."""
        self.find(upload)

        def give_up(tx: sqlite3.Connection) -> None:
            if lookup.upload(tx, upload) is not None:
                for part in lookup.parts(tx, upload):
                    _forget(tx, upload, part.number)
                tx.execute("DELETE FROM uploads WHERE id = ?", (upload,))

        async with self._ledger.writing():
            await self._ledger.write(give_up)

    def _content(self, part: Part) -> Content:
        content = lookup.content(self._ledger.reader, part.content)
        if content is None:
            raise BadRequest(f"part {part.number} was replaced meanwhile")
        return content


def _forget(tx: sqlite3.Connection, upload: str, number: int) -> None:
    row = tx.execute("SELECT content FROM upload_parts WHERE upload = ? AND number = ?", (upload, number)).fetchone()
    if row is not None:
        if row[0]:
            drop_content(tx, row[0])
        tx.execute("DELETE FROM upload_parts WHERE upload = ? AND number = ?", (upload, number))
