"""Objects: written, read, copied, deleted, tagged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import unquote

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.errors import BucketError, NotFound
from automator67.engine.buckets.records import Version
from automator67.engine.s3.about import about_of, checked_tags, copied, headers_of
from automator67.engine.s3.conditions import byte_range, expected, unmodified
from automator67.engine.s3.errors import S3Error, of_bucket
from automator67.engine.s3.listing import xml_time
from automator67.engine.s3.request import Answer, Request, xml_answer
from automator67.engine.s3.xml import Node, document, parsed, text

MOST_DELETED = 1000
_OVERRIDES = ("content-type", "content-language", "expires", "cache-control", "content-disposition", "content-encoding")


async def get(r: Request) -> Answer:
    """GetObject and HeadObject."""
    r.need("read")
    version = await _found(r)
    headers = headers_of(version, versions=r.versions)
    if unmodified(r.head.headers, version):
        return Answer(304, {k: headers[k] for k in ("ETag", "Last-Modified")})
    overrides = {name: r.head.asked(f"response-{name}") for name in _OVERRIDES if r.head.asked(f"response-{name}")}
    headers |= {name.title(): _line(value) for name, value in overrides.items()}
    if r.head.flag("partNumber"):
        if version.parts > 1 or r.head.asked("partNumber") != "1":
            raise S3Error("NotImplemented", "Parts of an object that is complete cannot be read for themselves")
        headers["x-amz-mp-parts-count"] = "1"
    part = byte_range(r.head.headers.get("range"), version.size)
    start, end = part or (0, version.size)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{version.size}"
    body = b"" if r.head.method == "HEAD" else await _begun(r.bucket.read(version, start, end))
    return Answer(206 if part else 200, headers, body, end - start)


async def put(r: Request) -> Answer:
    """PutObject."""
    r.need("write")
    body = r.announced()
    version = await r.bucket.put(r.key, r.data(), about_of(r.head.headers), expected(r.head.headers))
    headers = _written(r, version)
    return Answer(200, headers | body.sums)


async def copy(r: Request) -> Answer:
    """CopyObject."""
    r.need("write")
    source, version = await source_of(r)
    about = copied(version.about, r.head)
    replaces = r.head.headers.get("x-amz-metadata-directive", "").upper() == "REPLACE"
    if (source.name, version.key, version.latest) == (r.bucket.name, r.key, True) and not replaces:
        raise S3Error("InvalidRequest", "An object is copied to itself only to change its metadata")
    if source is r.bucket:
        made = await r.bucket.copy(version, r.key, about, expected(r.head.headers))
    else:
        made = await r.bucket.put(r.key, source.read(version), about, expected(r.head.headers))
    facts: list[Node] = [("LastModified", xml_time(made.created)), ("ETag", f'"{made.etag}"')]
    return xml_answer(document("CopyObjectResult", *facts), _written(r, made))


async def source_of(r: Request) -> tuple[Bucket, Version]:
    """Return what ``x-amz-copy-source`` names. Raises S3Error."""
    path, _, id_ = r.head.headers["x-amz-copy-source"].partition("?versionId=")
    try:
        name, _, key = unquote(path, errors="strict").removeprefix("/").partition("/")
    except UnicodeDecodeError:
        raise S3Error("InvalidArgument", "x-amz-copy-source is not valid UTF-8") from None
    r.holder.allow(name, "read", key)
    try:
        version = await r.buckets[name].head(key, id_ if id_ not in ("", "null") else None)
    except NotFound as error:
        raise S3Error("NoSuchVersion" if id_ else "NoSuchKey", str(error)) from None
    if version.marker:
        raise S3Error("InvalidRequest", "The version is a deletion")
    unmodified(r.head.headers, version, "x-amz-copy-source-")
    return r.buckets[name], version


async def delete(r: Request) -> Answer:
    """DeleteObject."""
    r.need("write")
    gone = await r.bucket.delete(r.key, r.version, expected(r.head.headers))
    headers = {}
    if r.versions and gone is not None:
        headers["x-amz-version-id"] = gone.id
        if gone.marker:
            headers["x-amz-delete-marker"] = "true"
    return Answer(204, headers)


async def delete_many(r: Request) -> Answer:
    """DeleteObjects: each for itself, told of unless the request is quiet."""
    root = parsed(await r.document(), "Delete")
    wanted = [(o.findtext("Key") or "", text(o, "VersionId"), text(o, "ETag")) for o in root.findall("Object")]
    if not 1 <= len(wanted) <= MOST_DELETED:
        raise S3Error("MalformedXML", f"1 to {MOST_DELETED} objects are deleted at once")
    quiet = text(root, "Quiet") == "true"
    told: list[Node] = []
    for key, id_, etag in wanted:
        try:
            r.need("write", key)
            condition = expected({"if-match": etag}) if etag else None
            gone = await r.bucket.delete(key, id_ if id_ not in ("", "null") else None, condition)
        except (S3Error, BucketError) as error:
            said = of_bucket(error) if isinstance(error, BucketError) else error
            told.append(("Error", [("Key", key), ("Code", said.code), ("Message", str(said))]))
            continue
        fields: list[Node] = [("Key", key)]
        if r.versions and id_:
            fields.append(("VersionId", id_))
        elif r.versions and gone is not None and gone.marker:
            fields += [("DeleteMarker", "true"), ("DeleteMarkerVersionId", gone.id)]
        if not quiet:
            told.append(("Deleted", fields))
    return xml_answer(document("DeleteResult", *told))


async def get_tags(r: Request) -> Answer:
    """GetObjectTagging."""
    r.need("read")
    version = await _found(r)
    tags: list[Node] = [("Tag", [("Key", k), ("Value", v)]) for k, v in version.about.tags.items()]
    return xml_answer(document("Tagging", ("TagSet", tags)), _version_header(r, version))


async def put_tags(r: Request) -> Answer:
    """PutObjectTagging."""
    r.need("write")
    root = parsed(await r.document(), "Tagging")
    tags = checked_tags([(text(t, "Key"), text(t, "Value")) for t in root.findall("TagSet/Tag")])
    version = await _found(r)
    await r.bucket.set_tags(version, tags)
    return Answer(200, _version_header(r, version))


async def delete_tags(r: Request) -> Answer:
    """DeleteObjectTagging."""
    r.need("write")
    version = await _found(r)
    await r.bucket.set_tags(version, {})
    return Answer(204, _version_header(r, version))


async def _found(r: Request) -> Version:
    try:
        version = await r.bucket.head(r.key, r.version)
    except NotFound as error:
        raise S3Error("NoSuchVersion" if r.version else "NoSuchKey", str(error)) from None
    if version.marker:
        raise S3Error("MethodNotAllowed", "The version is a deletion; it has nothing to read")
    return version


async def _begun(data: AsyncIterator[bytes]) -> AsyncIterator[bytes] | bytes:
    """Read the first piece, so that what cannot be read is told by a status; a small object is that piece alone."""
    first = await anext(data, b"")
    second = await anext(data, b"") if first else b""
    if not second:
        return first

    async def all_of_it() -> AsyncIterator[bytes]:
        yield first
        yield second
        async for piece in data:
            yield piece

    return all_of_it()


def _written(r: Request, version: Version) -> dict[str, str]:
    return {"ETag": f'"{version.etag}"', **_version_header(r, version)}


def _version_header(r: Request, version: Version) -> dict[str, str]:
    return {"x-amz-version-id": version.id} if r.versions else {}


def _line(text: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise S3Error("InvalidArgument", "A header has no control characters")
    return text
