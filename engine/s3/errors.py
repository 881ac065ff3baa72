"""What a client is told when something cannot be done: S3's own codes, each with its HTTP status. Pure."""

from __future__ import annotations

from automator67.engine.buckets.errors import (
    BadRequest,
    BucketError,
    Corrupt,
    NotFound,
    QuotaExceeded,
    Refused,
    Unavailable,
)

STATUS = {
    "AccessDenied": 403, "AuthorizationHeaderMalformed": 400, "AuthorizationQueryParametersError": 400,
    "BadDigest": 400, "EntityTooLarge": 400, "ExpiredToken": 400, "IncompleteBody": 400, "InternalError": 500,
    "InvalidAccessKeyId": 403, "InvalidArgument": 400, "InvalidBucketName": 400, "InvalidDigest": 400,
    "InvalidPart": 400, "InvalidPartOrder": 400, "InvalidRange": 416, "InvalidRequest": 400, "InvalidTag": 400,
    "InvalidURI": 400, "KeyTooLongError": 400, "MalformedXML": 400, "MetadataTooLarge": 400, "MethodNotAllowed": 405,
    "MissingContentLength": 411, "NoSuchBucket": 404, "NoSuchBucketPolicy": 404, "NoSuchCORSConfiguration": 404,
    "NoSuchKey": 404, "NoSuchLifecycleConfiguration": 404, "NoSuchTagSet": 404, "NoSuchUpload": 404,
    "NoSuchVersion": 404, "NotImplemented": 501, "ObjectLockConfigurationNotFoundError": 404,
    "OwnershipControlsNotFoundError": 404, "PreconditionFailed": 412, "QuotaExceeded": 403,
    "ReplicationConfigurationNotFoundError": 404, "RequestTimeTooSkewed": 403, "RequestTimeout": 400,
    "ServerSideEncryptionConfigurationNotFoundError": 404, "ServiceUnavailable": 503, "SignatureDoesNotMatch": 403,
    "XAmzContentSHA256Mismatch": 400,
}  # fmt: skip


class S3Error(Exception):
    """The answer to a request that is not carried out. ``code`` is one of ``STATUS``."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.status = code, STATUS[code]


def denied(text: str = "Access denied") -> S3Error:
    """Return the refusal of what an access key may not do."""
    return S3Error("AccessDenied", text)


def of_bucket(error: BucketError) -> S3Error:
    """Return what an error of a bucket is to a client."""
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "InternalError")
    return S3Error(code, str(error))


_CODES: dict[type[BucketError], str] = {
    NotFound: "NoSuchKey", Refused: "PreconditionFailed", BadRequest: "InvalidArgument",
    QuotaExceeded: "QuotaExceeded", Unavailable: "ServiceUnavailable", Corrupt: "InternalError",
}  # fmt: skip
