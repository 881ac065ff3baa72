"""Who signed a request: AWS Signature Version 4, in the header or in the query. Pure.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote, unquote_to_bytes

from automator67.engine.s3.errors import S3Error, denied

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_SECONDS = 900.0
LONGEST_PRESIGNED = 7 * 86400
UNSIGNED = "UNSIGNED-PAYLOAD"

_PART = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request: ``path`` as it was sent, ``query`` its decoded pairs, ``headers`` by lower-case name."""

    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]

    def asked(self, name: str, default: str = "") -> str:
        """Return a parameter of the query."""
        return next((v for k, v in self.query if k == name), default)

    def flag(self, name: str) -> bool:
        """Whether the query has a parameter, with a value or without."""
        return any(k == name for k, _ in self.query)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its signature. ``expires``: seconds from ``at`` on, None when it is no presigned URL."""

    key: str
    date: str
    region: str
    at: str
    signed: tuple[str, ...]
    signature: str
    payload: str
    expires: int | None = None

    @property
    def scope(self) -> str:
        """What the signing key is good for."""
        return f"{self.date}/{self.region}/s3/aws4_request"


def query_pairs(raw: str) -> list[tuple[str, str]]:
    """Return the pairs of a query string, decoded; a plus sign is a plus sign. Raises S3Error."""
    pairs = (part.partition("=") for part in raw.split("&") if part)
    try:
        return [(unquote(k, errors="strict"), unquote(v, errors="strict")) for k, _, v in pairs]
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "The query is not valid UTF-8") from None


def claim_of(head: Head) -> Claim | None:
    """Return what a request says of its signature; None when it has none. Raises S3Error."""
    if "authorization" in head.headers:
        return _from_header(head)
    if head.flag("AWSAccessKeyId"):
        raise S3Error("InvalidRequest", f"This URL has signature version 2; sign with {ALGORITHM} (s3v4)")
    return _from_query(head) if head.flag("X-Amz-Algorithm") or head.flag("X-Amz-Signature") else None


def _from_header(head: Head) -> Claim:
    kind, _, rest = head.headers["authorization"].partition(" ")
    if kind != ALGORITHM:
        raise S3Error("InvalidRequest", f"Only {ALGORITHM} is taken for an authorization")
    parts = dict(_PART.findall(rest))
    if len(parts) != 3:
        raise S3Error("AuthorizationHeaderMalformed", "Credential, SignedHeaders and Signature are needed")
    payload = head.headers.get("x-amz-content-sha256", "")
    if not payload:
        raise S3Error("InvalidRequest", "The header x-amz-content-sha256 is missing")
    at = head.headers.get("x-amz-date", "")
    return _claim(parts["Credential"], at, parts["SignedHeaders"], parts["Signature"], payload, None)


def _from_query(head: Head) -> Claim:
    if head.asked("X-Amz-Algorithm") != ALGORITHM:
        raise S3Error("AuthorizationQueryParametersError", f"X-Amz-Algorithm must be {ALGORITHM}")
    expires = head.asked("X-Amz-Expires")
    if not expires.isdecimal() or not 1 <= int(expires[:9]) <= LONGEST_PRESIGNED:
        raise S3Error("AuthorizationQueryParametersError", f"X-Amz-Expires must be 1 to {LONGEST_PRESIGNED} seconds")
    credential, at, signed, signature = (
        head.asked(f"X-Amz-{n}") for n in ("Credential", "Date", "SignedHeaders", "Signature")
    )
    payload = head.headers.get("x-amz-content-sha256", UNSIGNED)
    return _claim(credential, at, signed, signature, payload, int(expires))


def _claim(credential: str, at: str, signed: str, signature: str, payload: str, expires: int | None) -> Claim:
    code = "AuthorizationHeaderMalformed" if expires is None else "AuthorizationQueryParametersError"
    key, *scope = credential.rsplit("/", 4)
    if len(scope) != 4 or scope[2:] != ["s3", "aws4_request"]:
        raise S3Error(code, "The credential must be KEY/DATE/REGION/s3/aws4_request")
    if _time(at) is None or not at.startswith(scope[0]) or len(scope[0]) != 8:
        raise S3Error(code, "X-Amz-Date must be a time like 20260131T120000Z on the day of the credential")
    if not _HEX.fullmatch(signature):
        raise S3Error(code, "The signature must have 64 hexadecimal digits")
    return Claim(key, scope[0], scope[1], at, tuple(signed.lower().split(";")), signature, payload, expires)


def check(claim: Claim, head: Head, secret: str, now: float) -> bytes:
    """Return the signing key when a request is signed with ``secret`` and not too old. Raises S3Error."""
    at = _time(claim.at)
    assert at is not None
    if claim.expires is None and abs(now - at) > SKEW_SECONDS:
        raise S3Error("RequestTimeTooSkewed", "The time of the request and this server's differ by over 15 minutes")
    if claim.expires is not None and not at - SKEW_SECONDS <= now <= at + claim.expires:
        raise denied("Request has expired")
    unsigned = [n for n in head.headers if n.startswith("x-amz-") and n not in claim.signed]
    if claim.expires is not None:
        unsigned = [n for n in unsigned if n != "x-amz-content-sha256"]
    if unsigned or "host" not in claim.signed:
        raise denied(f"Headers are not signed: {', '.join(unsigned) or 'host'}")
    key = signing_key(secret, claim.date, claim.region)
    text = string_to_sign(claim, canonical(head, claim))
    if not hmac.compare_digest(_hmac(key, text).hex(), claim.signature):
        raise S3Error("SignatureDoesNotMatch", "The signature is not the one of this request and this secret key")
    return key


def canonical(head: Head, claim: Claim) -> str:
    """Return the canonical request."""
    path = quote(unquote_to_bytes(head.path), safe="/-_.~")
    pairs = sorted((_quoted(k), _quoted(v)) for k, v in head.query if k != "X-Amz-Signature" or claim.expires is None)
    lines = [f"{name}:{' '.join(head.headers.get(name, '').split())}" for name in claim.signed]
    return "\n".join(
        [head.method, path, "&".join(f"{k}={v}" for k, v in pairs), *lines, "", ";".join(claim.signed), claim.payload]
    )


def string_to_sign(claim: Claim, request: str) -> str:
    """Return what is signed of a canonical request."""
    digest = hashlib.sha256(request.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{ALGORITHM}\n{claim.at}\n{claim.scope}\n{digest}"


def signing_key(secret: str, date: str, region: str) -> bytes:
    """Return the key of a day, a region and this service."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, "s3", "aws4_request"):
        key = _hmac(key, part)
    return key


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _time(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
