"""Listings: buckets, objects, versions, uploads, parts; a page at a time."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import quote

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.lookup import Page, rolled_up
from automator67.engine.buckets.records import Version
from automator67.engine.s3.errors import S3Error
from automator67.engine.s3.signature import Head
from automator67.engine.s3.xml import Node, document

MOST = 1000
_OWNER: Node = ("Owner", [("ID", "automator67"), ("DisplayName", "automator67")])


def xml_time(at: float) -> str:
    """Return a time as S3 writes it in XML."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def buckets(names: Iterable[str], created: float) -> bytes:
    """Return the list of buckets."""
    entries: list[Node] = [
        ("Bucket", [("Name", name), ("CreationDate", xml_time(created))]) for name in sorted(names)
    ]  # fmt: skip
    return document("ListAllMyBucketsResult", _OWNER, ("Buckets", entries))


async def objects(bucket: Bucket, head: Head) -> bytes:
    """Answer ListObjects (both versions of it). Raises S3Error."""
    second = head.asked("list-type") == "2"
    prefix, delimiter, limit, name = _asked(head)
    if second:
        token = head.asked("continuation-token")
        after = _opened(token) if token else head.asked("start-after")
    else:
        after = head.asked("marker")
    page = await bucket.list(prefix, delimiter, after, limit) if limit else Page(())
    fields: list[Node] = [("Name", bucket.name), ("Prefix", name(prefix)), ("MaxKeys", limit)]
    if delimiter:
        fields.append(("Delimiter", name(delimiter)))
    if head.asked("encoding-type"):
        fields.append(("EncodingType", "url"))
    fields.append(("IsTruncated", "true" if page.next else "false"))
    if second:
        fields.append(("KeyCount", len(page.versions) + len(page.prefixes)))
        fields += [(n, head.asked(k)) for n, k in _ECHOED if head.flag(k)]
        if page.next:
            fields.append(("NextContinuationToken", _token(page.next)))
    else:
        fields.append(("Marker", name(after)))
        if page.next:
            fields.append(("NextMarker", name(page.next)))
    owner = [_OWNER] if not second or head.asked("fetch-owner") == "true" else []
    fields += [("Contents", [("Key", name(v.key)), *_facts(v), *owner]) for v in page.versions]
    return document("ListBucketResult", *fields, *_prefixes(page.prefixes, name))


_ECHOED = (("ContinuationToken", "continuation-token"), ("StartAfter", "start-after"))


async def versions(bucket: Bucket, head: Head) -> bytes:
    """Answer ListObjectVersions. Raises S3Error and BucketError."""
    prefix, delimiter, limit, name = _asked(head)
    marker, id_ = head.asked("key-marker"), head.asked("version-id-marker")
    after: tuple[str, int] | None = (marker, 0) if marker else None
    if id_:
        after = (marker, (await bucket.head(marker, id_)).order)
    shown: list[Version] = []
    prefixes: list[str] = []
    truncated, last = False, None
    while limit and not truncated:
        found = await bucket.versions(prefix, after, limit + 1)
        for version in found:
            rolled = rolled_up(version.key, prefix, delimiter)
            if rolled and rolled in prefixes[-1:]:
                continue
            if len(shown) + len(prefixes) == limit:
                truncated = True
                break
            if rolled:
                prefixes.append(rolled)
            else:
                shown.append(version)
            last = version
        if len(found) <= limit:
            break
        after = (found[-1].key, found[-1].order)
    fields: list[Node] = [
        ("Name", bucket.name), ("Prefix", name(prefix)), ("KeyMarker", name(marker)), ("VersionIdMarker", id_),
        ("MaxKeys", limit), ("IsTruncated", "true" if truncated else "false"),
    ]  # fmt: skip
    if delimiter:
        fields.append(("Delimiter", name(delimiter)))
    if head.asked("encoding-type"):
        fields.append(("EncodingType", "url"))
    if truncated and last is not None:
        rolled = rolled_up(last.key, prefix, delimiter)
        fields.append(("NextKeyMarker", name(f"{rolled}\U0010ffff" if rolled else last.key)))
        if not rolled:
            fields.append(("NextVersionIdMarker", last.id))
    for v in shown:
        common: list[Node] = [
            ("Key", name(v.key)), ("VersionId", v.id), ("IsLatest", "true" if v.latest else "false"), _OWNER,
        ]  # fmt: skip
        if v.marker:
            fields.append(("DeleteMarker", [*common, ("LastModified", xml_time(v.created))]))
        else:
            fields.append(("Version", [*common, *_facts(v)]))
    return document("ListVersionsResult", *fields, *_prefixes(prefixes, name))


async def uploads(bucket: Bucket, head: Head) -> bytes:
    """Answer ListMultipartUploads. Raises S3Error."""
    prefix, _, _, name = _asked(head)
    limit = _number(head.asked("max-uploads"), MOST)
    marker, id_ = head.asked("key-marker"), head.asked("upload-id-marker")
    after = (marker, id_ or "\U0010ffff") if marker else ("", "")
    found = bucket.uploads.list(prefix, after, limit + 1)
    shown, truncated = found[:limit], len(found) > limit
    fields: list[Node] = [
        ("Bucket", bucket.name), ("KeyMarker", name(marker)), ("UploadIdMarker", id_), ("Prefix", name(prefix)),
        ("MaxUploads", limit), ("IsTruncated", "true" if truncated else "false"),
    ]  # fmt: skip
    if head.asked("encoding-type"):
        fields.append(("EncodingType", "url"))
    if truncated and shown:
        fields += [("NextKeyMarker", name(shown[-1].key)), ("NextUploadIdMarker", shown[-1].id)]
    fields += [
        ("Upload", [("Key", name(u.key)), ("UploadId", u.id), _OWNER, ("StorageClass", "STANDARD"),
                    ("Initiated", xml_time(u.at))])
        for u in shown
    ]  # fmt: skip
    return document("ListMultipartUploadsResult", *fields)


async def parts(bucket: Bucket, key: str, head: Head) -> bytes:
    """Answer ListParts. Raises S3Error and BucketError."""
    limit = _number(head.asked("max-parts"), MOST)
    after = _number(head.asked("part-number-marker"), 10_000, usual=0)
    found = bucket.uploads.parts(head.asked("uploadId"), after, limit + 1)
    shown, truncated = found[:limit], len(found) > limit
    fields: list[Node] = [
        ("Bucket", bucket.name), ("Key", key), ("UploadId", head.asked("uploadId")), ("PartNumberMarker", after),
        ("NextPartNumberMarker", shown[-1].number if shown else 0), ("MaxParts", limit),
        ("IsTruncated", "true" if truncated else "false"), ("StorageClass", "STANDARD"), _OWNER,
    ]  # fmt: skip
    fields += [
        ("Part", [("PartNumber", p.number), ("ETag", f'"{p.etag}"'), ("Size", p.size),
                  ("LastModified", xml_time(p.at))])
        for p in shown
    ]  # fmt: skip
    return document("ListPartsResult", *fields)


class _Name:
    """Writes names as they are, or encoded as the client asked for."""

    def __init__(self, encode: bool) -> None:
        self._encode = encode

    def __call__(self, text: str) -> str:
        return quote(text, safe="/-_.~") if self._encode else text


def _asked(head: Head) -> tuple[str, str, int, _Name]:
    encoding = head.asked("encoding-type")
    if encoding not in ("", "url"):
        raise S3Error("InvalidArgument", "encoding-type can only be url")
    limit = _number(head.asked("max-keys"), MOST)
    return head.asked("prefix"), head.asked("delimiter"), limit, _Name(bool(encoding))


def _number(text: str, most: int, usual: int | None = None) -> int:
    if not text:
        return most if usual is None else usual
    if not text.isdecimal():
        raise S3Error("InvalidArgument", f"{text[:50]} is no number of entries")
    return min(most, int(text[:9]))


def _facts(version: Version) -> list[Node]:
    return [
        ("LastModified", xml_time(version.created)), ("ETag", f'"{version.etag}"'), ("Size", version.size),
        ("StorageClass", "STANDARD"),
    ]  # fmt: skip


def _prefixes(found: Iterable[str], name: _Name) -> list[Node]:
    return [("CommonPrefixes", [("Prefix", name(p))]) for p in found]


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _opened(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise S3Error("InvalidArgument", "The continuation token is none of ours") from None
