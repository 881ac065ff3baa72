"""What an object says of itself, in headers and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl

from automator67.engine.buckets.records import About, Version
from automator67.engine.s3.conditions import http_date
from automator67.engine.s3.errors import S3Error
from automator67.engine.s3.signature import Head

KEPT = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")
META = "x-amz-meta-"
MOST_METADATA, MOST_TAGS = 8192, 10
"""S3 itself takes 2 KiB of metadata; tools that keep more elsewhere do so because of that."""
_ACLS = ("private", "bucket-owner-read", "bucket-owner-full-control")
_REFUSED = {
    "x-amz-server-side-encryption-customer-algorithm": "keys of customers",
    "x-amz-object-lock-mode": "locks of objects", "x-amz-object-lock-legal-hold": "locks of objects",
    "x-amz-website-redirect-location": "redirections", "x-amz-write-offset-bytes": "appending",
}  # fmt: skip


def about_of(headers: Mapping[str, str]) -> About:
    """Return what the headers of an upload say of the object. Raises S3Error."""
    check_acl(headers)
    for name, what in _REFUSED.items():
        if name in headers:
            raise S3Error("NotImplemented", f"There are no {what} here ({name})")
    kept = {name: headers[name] for name in KEPT if name in headers}
    if "content-encoding" in kept:
        codings = [c.strip() for c in kept["content-encoding"].split(",")]
        kept["content-encoding"] = ",".join(c for c in codings if c and c.lower() != "aws-chunked")
    metadata = {name.removeprefix(META): value for name, value in headers.items() if name.startswith(META)}
    size = sum(len(k) + len(v) for k, v in [*kept.items(), *metadata.items()])
    if size > MOST_METADATA:
        raise S3Error("MetadataTooLarge", f"Headers and metadata of an object have {MOST_METADATA} bytes at most")
    about = About(
        headers.get("content-type", "binary/octet-stream"), {k: v for k, v in kept.items() if v}, metadata,
        tags_of(headers.get("x-amz-tagging", "")),
    )  # fmt: skip
    try:
        "".join([about.content_type, *about.headers.values(), *metadata.values(), *metadata]).encode()
    except UnicodeEncodeError:
        raise S3Error("InvalidArgument", "Headers must be valid UTF-8") from None
    return about


def check_acl(headers: Mapping[str, str]) -> None:
    """Raise S3Error when others than the bucket's access keys are to have a right."""
    if headers.get("x-amz-acl", "private") not in _ACLS or any(n.startswith("x-amz-grant-") for n in headers):
        raise S3Error("NotImplemented", "Objects are private here; give others presigned URLs, or access keys")


def copied(source: About, head: Head) -> About:
    """Return what a copy says of itself: what the source does, or what the request says. Raises S3Error."""
    headers = head.headers
    new = about_of(headers)
    about = new if headers.get("x-amz-metadata-directive", "").upper() == "REPLACE" else source
    tags = new.tags if headers.get("x-amz-tagging-directive", "").upper() == "REPLACE" else source.tags
    return replace(about, tags=tags)


def tags_of(text: str) -> dict[str, str]:
    """Return the tags of ``x-amz-tagging``. Raises S3Error."""
    return checked_tags(parse_qsl(text, keep_blank_values=True))


def checked_tags(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return tags as they are kept. Raises S3Error."""
    tags = dict(pairs)
    if len(pairs) > MOST_TAGS or len(tags) < len(pairs):
        raise S3Error("InvalidTag", f"An object has {MOST_TAGS} tags at most, each name once")
    if any(not 1 <= len(k) <= 128 or len(v) > 256 for k, v in tags.items()):
        raise S3Error("InvalidTag", "A tag has a name of 1 to 128 characters and a value of 256 at most")
    return tags


def headers_of(version: Version, *, versions: bool) -> dict[str, str]:
    """Return the headers with which an object is answered."""
    about = version.about
    found = {
        "Content-Type": about.content_type, "ETag": f'"{version.etag}"', "Last-Modified": http_date(version.created),
        "Accept-Ranges": "bytes", **{name.title(): value for name, value in about.headers.items()},
    }  # fmt: skip
    found |= {f"{META}{name}": value for name, value in about.metadata.items()}
    if about.tags:
        found["x-amz-tagging-count"] = str(len(about.tags))
    if versions:
        found["x-amz-version-id"] = version.id
    return found
