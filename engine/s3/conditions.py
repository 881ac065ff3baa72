"""Conditions and ranges of requests. Pure. RFC 9110, 13 and 14; S3 compares ETags as they are."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime

from automator67.engine.buckets.records import Expect, Version
from automator67.engine.s3.errors import S3Error


def http_date(at: float) -> str:
    """Return a time as HTTP writes it."""
    return formatdate(at, usegmt=True)


def unmodified(headers: Mapping[str, str], version: Version, prefix: str = "") -> bool:
    """Return whether a client has what it asks for already. Raises S3Error when a condition does not hold.

    ``prefix``: how the names of the headers begin, such as ``x-amz-copy-source-``.
    """
    match, none = headers.get(f"{prefix}if-match"), headers.get(f"{prefix}if-none-match")
    if match is not None and not _names(match, version.etag):
        raise S3Error("PreconditionFailed", "The object is another one than If-Match says")
    before = _seconds(headers.get(f"{prefix}if-unmodified-since"))
    if match is None and before is not None and int(version.created) > before:
        raise S3Error("PreconditionFailed", "The object was changed since")
    after = _seconds(headers.get(f"{prefix}if-modified-since"))
    same = none is not None and _names(none, version.etag)
    old = none is None and after is not None and int(version.created) <= after
    if prefix and (same or old):
        raise S3Error("PreconditionFailed", "The object was not changed")
    return same or old


def expected(headers: Mapping[str, str]) -> Expect | None:
    """Return the condition under which an object is written or deleted. Raises S3Error."""
    match, none = headers.get("if-match"), headers.get("if-none-match")
    if none is not None:
        if none.strip() != "*" or match is not None:
            raise S3Error("NotImplemented", "Of If-None-Match only * is taken where something is written")
        return Expect(absent=True)
    if match is not None and match.strip() == "*":
        raise S3Error("NotImplemented", "Of If-Match only an ETag is taken where something is written")
    return None if match is None else Expect(etag=match.strip().strip('"'))


def byte_range(text: str | None, size: int) -> tuple[int, int] | None:
    """Return what a Range asks for as start and end (not included); None: all of it. Raises S3Error."""
    if text is None or not text.startswith("bytes=") or "," in text:
        return None
    first, dash, last = text.removeprefix("bytes=").strip().partition("-")
    if not dash or not (first + last).isdecimal() or len(first + last) > 38:
        return None
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size or end <= start:
        raise S3Error("InvalidRange", f"The object has {size} bytes; nothing of the range is in it")
    return start, end


def _names(text: str, etag: str) -> bool:
    return text.strip() == "*" or etag in {one.strip().removeprefix("W/").strip('"') for one in text.split(",")}


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
