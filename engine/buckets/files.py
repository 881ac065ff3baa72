"""Files of this machine into a bucket and out of it. What breaks off goes on where it was, the next time.

A large file goes up in parts of an upload that says which file it is of; down, what has come stands in a draft beside
the file, named after the version. ``moved`` is told how many bytes went by.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.errors import BadRequest, NotFound
from automator67.engine.buckets.records import About, Version

PART_BYTES = 64 * 2**20
"""Files larger than this go up in parts of about this size."""
_PIECE = 2**20
_TIME = "mtime"
"""In the metadata: when the file was changed, in seconds since the epoch; the name is the one that rclone uses."""
_SOURCE = "a67-source"

Moved = Callable[[int], None]


def tree(folder: Path, prefix: str) -> list[tuple[Path, str]]:
    """Return the files below a folder and their names in the bucket; links are left out. Raises BadRequest."""
    if not folder.is_dir():
        raise BadRequest(f"{folder} is no folder")
    base = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    found = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                found.append((path, base + path.relative_to(folder).as_posix()))
    return found


async def all_below(bucket: Bucket, prefix: str) -> AsyncIterator[Version]:
    """Yield the present objects whose names begin with ``prefix``."""
    after = ""
    while True:
        page = await bucket.list(prefix, "", after, 1000)
        for version in page.versions:
            yield version
        after = page.next
        if not after:
            return


async def is_there(bucket: Bucket, file: Path, key: str) -> bool:
    """Whether the bucket has a file already, by its size and time."""
    try:
        version, stat = await bucket.head(key), file.stat()
    except NotFound:
        return False
    return version.size == stat.st_size and version.about.metadata.get(_TIME) == _time(stat)


async def upload(bucket: Bucket, file: Path, key: str, moved: Moved) -> Version:
    """Copy a file into the bucket. Raises BucketError, OSError becomes BadRequest."""
    try:
        with file.open("rb") as source:
            stat = os.fstat(source.fileno())
            about = About(mimetypes.guess_type(file.name)[0] or "application/octet-stream", {}, {_TIME: _time(stat)})
            if stat.st_size <= PART_BYTES:
                return await bucket.put(key, _pieces(source, moved), about)
            return await _in_parts(bucket, source, stat, key, about, moved)
    except OSError as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from error


async def take_stream(bucket: Bucket, key: str, source: BinaryIO, moved: Moved) -> Version:
    """Copy what comes from a stream into the bucket, with flat memory."""
    return await bucket.put(key, _pieces(source, moved), About())


async def _in_parts(
    bucket: Bucket, source: BinaryIO, stat: os.stat_result, key: str, about: About, moved: Moved
) -> Version:  # fmt: skip
    size = max(1, PART_BYTES // bucket.rules.chunk) * bucket.rules.chunk
    size *= -(-stat.st_size // (size * 10_000))
    mark = f"{stat.st_size} {stat.st_mtime_ns} {size}"
    begun = (u for u in bucket.uploads.list(key) if u.key == key and u.about.metadata.get(_SOURCE) == mark)
    known = next(begun, None)
    marked = About(about.content_type, {}, {**about.metadata, _SOURCE: mark})
    upload = known.id if known else await bucket.uploads.begin(key, marked)
    there = {p.number: p for p in bucket.uploads.parts(upload, 0, 10_000)}
    parts = []
    for number, start in enumerate(range(0, stat.st_size, size), 1):
        part = there.get(number)
        if part is None:
            source.seek(start)
            part = await bucket.uploads.put_part(upload, number, _pieces(source, moved, size))
        parts.append((number, part.etag))
    return await bucket.uploads.complete(upload, parts)


async def _pieces(source: BinaryIO, moved: Moved, most: int | None = None) -> AsyncIterator[bytes]:
    left = most
    while left is None or left > 0:
        piece = await asyncio.to_thread(source.read, _PIECE if left is None else min(_PIECE, left))
        if not piece:
            return
        moved(len(piece))
        left = None if left is None else left - len(piece)
        yield piece


def path_below(folder: Path, name: str) -> Path | None:
    """Return where the file of a name belongs below a folder; None where it would be elsewhere, or nowhere."""
    parts = name.removeprefix("/").split("/")
    if any(p in ("", ".", "..") or "\0" in p or len(p.encode()) > 200 for p in parts):
        return None
    return folder.joinpath(*parts)


def is_here(version: Version, file: Path) -> bool:
    """Whether a version is here already, by its size and time."""
    try:
        stat = file.stat()
    except OSError:
        return False
    return version.size == stat.st_size and version.about.metadata.get(_TIME) == _time(stat)


async def download(bucket: Bucket, version: Version, file: Path, moved: Moved) -> None:
    """Copy a version to a file, which has its name when it is complete. Raises BucketError."""
    draft = file.with_name(f".{file.name}.{version.id[:12]}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("ab") as target:
            begun = min(target.tell(), version.size)
            target.truncate(begun)
            async for piece in bucket.read(version, begun):
                await asyncio.to_thread(target.write, piece)
                moved(len(piece))
            target.flush()
            os.fsync(target.fileno())
        if text := version.about.metadata.get(_TIME):
            _set_time(draft, text)
        draft.replace(file)
    except OSError as error:
        raise BadRequest(f"{file} cannot be written: {error.strerror}") from error


def _set_time(file: Path, text: str) -> None:
    try:
        seconds, _, rest = text.partition(".")
        at = int(seconds) * 10**9 + int(f"{rest[:9]:0<9}")
        os.utime(file, ns=(at, at))
    except (ValueError, OverflowError):
        return


def _time(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns // 10**9}.{stat.st_mtime_ns % 10**9:09}"
