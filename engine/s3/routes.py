"""Which operation a request asks for, by its method and the flags of its query."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from automator67.engine.s3 import listing, objects, uploads
from automator67.engine.s3.about import check_acl
from automator67.engine.s3.errors import S3Error, denied
from automator67.engine.s3.request import Answer, Request, xml_answer
from automator67.engine.s3.xml import Node, document

_Operation = Callable[[Request], Awaitable[Answer]]


async def answer(r: Request) -> Answer:
    """Carry a request out. Raises S3Error and BucketError."""
    operation = _of_object(r) if r.key else _of_bucket(r)
    return await operation(r)


def _of_object(r: Request) -> _Operation:
    method, flag = r.head.method, r.head.flag
    found: dict[str, _Operation]
    copies = "x-amz-copy-source" in r.head.headers
    if flag("uploads") and method == "POST":
        return uploads.begin
    if flag("uploadId"):
        part = uploads.copy_part if copies else uploads.put_part
        found = {"PUT": part, "POST": uploads.complete, "DELETE": uploads.abort, "GET": uploads.list_parts}
    elif flag("tagging"):
        found = {"GET": objects.get_tags, "PUT": objects.put_tags, "DELETE": objects.delete_tags}
    elif flag("acl"):
        found = {"GET": _acl, "PUT": _put_acl}
    else:
        _no_other(r, _OBJECT_FLAGS)
        put = objects.copy if copies else objects.put
        found = {"GET": objects.get, "HEAD": objects.get, "PUT": put, "DELETE": objects.delete}
    return found.get(method, _not_allowed)


def _of_bucket(r: Request) -> _Operation:
    method, flag = r.head.method, r.head.flag
    r.holder.enter(r.bucket.name)
    if method == "GET":
        for name, operation in _READ.items():
            if flag(name):
                return operation
        for name, code in _ABSENT.items():
            if flag(name):
                raise S3Error(code, f"The bucket has no {name}")
        _no_other(r, _BUCKET_FLAGS)
        return _list
    if method == "POST" and flag("delete"):
        return objects.delete_many
    if method == "HEAD":
        return _nothing
    if method in ("PUT", "DELETE") and not r.head.query:
        return _declared if method == "DELETE" else _nothing
    return _declared if method in ("PUT", "DELETE") else _not_allowed


def _no_other(r: Request, known: frozenset[str]) -> None:
    """Whoever asks for something else must not get an object, or overwrite one."""
    for name, _ in r.head.query:
        if name not in known and not name.lower().startswith(("x-amz-", "response-")) and name != "x-id":
            raise S3Error("NotImplemented", f"{r.head.method} with ?{name[:50]} is not known here")


_OBJECT_FLAGS = frozenset({"versionId", "partNumber"})
_BUCKET_FLAGS = frozenset(
    {"list-type", "prefix", "delimiter", "max-keys", "marker", "continuation-token", "start-after", "encoding-type",
     "fetch-owner"}
)  # fmt: skip


def _may_list(r: Request) -> None:
    r.need("read", r.head.asked("prefix"))


async def _list(r: Request) -> Answer:
    _may_list(r)
    return xml_answer(await listing.objects(r.bucket, r.head))


async def _versions(r: Request) -> Answer:
    _may_list(r)
    return xml_answer(await listing.versions(r.bucket, r.head))


async def _uploads(r: Request) -> Answer:
    r.need("write", r.head.asked("prefix"))
    return xml_answer(await listing.uploads(r.bucket, r.head))


async def _location(_: Request) -> Answer:
    return xml_answer(document("LocationConstraint"))


async def _versioning(r: Request) -> Answer:
    status: list[Node] = [("Status", "Enabled")] if r.versions else []
    return xml_answer(document("VersioningConfiguration", *status))


async def _lifecycle(r: Request) -> Answer:
    if not r.bucket.rules.expire:
        raise S3Error("NoSuchLifecycleConfiguration", "Nothing expires in the bucket")
    rules: list[Node] = [
        ("Rule", [("ID", f"expire-{n}"), ("Status", "Enabled"), ("Filter", [("Prefix", e.prefix)]),
                  ("Expiration", [("Days", max(1, round(e.after / 86400)))])])
        for n, e in enumerate(r.bucket.rules.expire, 1)
    ]  # fmt: skip
    return xml_answer(document("LifecycleConfiguration", *rules))


async def _cors(r: Request) -> Answer:
    if not r.bucket.rules.cors:
        raise S3Error("NoSuchCORSConfiguration", "The bucket has no CORS rules")
    origins: list[Node] = [("AllowedOrigin", o) for o in r.bucket.rules.cors]
    methods: list[Node] = [("AllowedMethod", m) for m in ("GET", "HEAD", "PUT", "POST", "DELETE")]
    return xml_answer(document("CORSConfiguration", ("CORSRule", [*origins, *methods, ("AllowedHeader", "*")])))


async def _acl(_: Request) -> Answer:
    owner: Node = ("Owner", [("ID", "automator67"), ("DisplayName", "automator67")])
    return xml_answer(document("AccessControlPolicy", owner, ("AccessControlList", [])))


async def _put_acl(r: Request) -> Answer:
    r.need("write")
    check_acl(r.head.headers)
    if await r.document():
        raise S3Error("NotImplemented", "Objects are private here")
    return Answer(200)


async def _nothing(_: Request) -> Answer:
    """What is so already: a bucket that is declared is there, and nobody but its keys may come in."""
    return Answer(200)


async def _declared(_: Request) -> Answer:
    raise denied("Buckets and their settings are declared in buckets/NAME.yaml, not made here")


async def _not_allowed(r: Request) -> Answer:
    raise S3Error("MethodNotAllowed", f"{r.head.method} is not possible here")


_READ: dict[str, _Operation] = {
    "location": _location, "versioning": _versioning, "uploads": _uploads, "versions": _versions, "acl": _acl,
    "lifecycle": _lifecycle, "cors": _cors,
}  # fmt: skip
_ABSENT = {
    "policy": "NoSuchBucketPolicy", "tagging": "NoSuchTagSet",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "object-lock": "ObjectLockConfigurationNotFoundError", "replication": "ReplicationConfigurationNotFoundError",
    "ownershipControls": "OwnershipControlsNotFoundError",
}  # fmt: skip
