"""Uploads in parts."""

from __future__ import annotations

from urllib.parse import quote

from automator67.engine.buckets.errors import BadRequest, NotFound
from automator67.engine.s3.about import about_of
from automator67.engine.s3.conditions import byte_range, expected
from automator67.engine.s3.errors import S3Error
from automator67.engine.s3.listing import parts, xml_time
from automator67.engine.s3.objects import source_of
from automator67.engine.s3.request import Answer, Request, xml_answer
from automator67.engine.s3.xml import Node, document, parsed, text


async def begin(r: Request) -> Answer:
    """CreateMultipartUpload."""
    r.need("write")
    upload = await r.bucket.uploads.begin(r.key, about_of(r.head.headers))
    fields: list[Node] = [("Bucket", r.bucket.name), ("Key", r.key), ("UploadId", upload)]
    return xml_answer(document("InitiateMultipartUploadResult", *fields))


async def put_part(r: Request) -> Answer:
    """UploadPart."""
    upload, number = _upload(r), _number(r)
    body = r.announced()
    part = await r.bucket.uploads.put_part(upload, number, r.data())
    return Answer(200, {"ETag": f'"{part.etag}"', **body.sums})


async def copy_part(r: Request) -> Answer:
    """UploadPartCopy."""
    upload, number = _upload(r), _number(r)
    source, version = await source_of(r)
    asked = r.head.headers.get("x-amz-copy-source-range")
    start, end = byte_range(asked, version.size) or (0, version.size)
    part = await r.bucket.uploads.put_part(upload, number, source.read(version, start, end))
    facts: list[Node] = [("LastModified", xml_time(part.at)), ("ETag", f'"{part.etag}"')]
    return xml_answer(document("CopyPartResult", *facts))


async def complete(r: Request) -> Answer:
    """CompleteMultipartUpload."""
    upload = _upload(r)
    root = parsed(await r.document(), "CompleteMultipartUpload")
    wanted = [(text(p, "PartNumber"), text(p, "ETag").strip('"')) for p in root.findall("Part")]
    if not wanted or not all(n.isdecimal() and len(n) < 6 for n, _ in wanted):
        raise S3Error("MalformedXML", "Each part has a number and an ETag, and there is at least one")
    numbers = [int(n) for n, _ in wanted]
    if numbers != sorted(set(numbers)):
        raise S3Error("InvalidPartOrder", "Parts are listed in ascending order, each once")
    chosen = [(int(n), etag) for n, etag in wanted]
    try:
        made = await r.bucket.uploads.complete(upload, chosen, expected(r.head.headers))
    except BadRequest as error:
        raise S3Error("InvalidPart", str(error)) from None
    facts: list[Node] = [
        ("Location", f"/{r.bucket.name}/{quote(r.key)}"), ("Bucket", r.bucket.name), ("Key", r.key),
        ("ETag", f'"{made.etag}"'),
    ]  # fmt: skip
    headers = {"x-amz-version-id": made.id} if r.versions else {}
    return xml_answer(document("CompleteMultipartUploadResult", *facts), headers)


async def abort(r: Request) -> Answer:
    """AbortMultipartUpload."""
    await r.bucket.uploads.abort(_upload(r))
    return Answer(204)


async def list_parts(r: Request) -> Answer:
    """ListParts."""
    _upload(r)
    return xml_answer(await parts(r.bucket, r.key, r.head))


def _upload(r: Request) -> str:
    """Return the upload of the request, which is one of the object's. Raises S3Error."""
    r.need("write")
    upload = r.head.asked("uploadId")
    try:
        known = r.bucket.uploads.find(upload)
    except NotFound as error:
        raise S3Error("NoSuchUpload", str(error)) from None
    if known.key != r.key:
        raise S3Error("NoSuchUpload", "The upload is one of another object")
    return upload


def _number(r: Request) -> int:
    text = r.head.asked("partNumber")
    if not text.isdecimal() or not 1 <= int(text[:6]) <= 10_000:
        raise S3Error("InvalidArgument", "Parts have the numbers 1 to 10000")
    return int(text)
