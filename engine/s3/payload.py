"""The body of a request: taken out of its chunks, and checked against what was said of it, while it streams by.

Whoever writes what is yielded must undo it when this raises at the end.
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass

from automator67.engine.s3.checksums import ALGORITHMS, Sum, encoded
from automator67.engine.s3.errors import S3Error
from automator67.engine.s3.signature import UNSIGNED, Claim, Head

SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
MOST = 5 * 2**40
"""An object has at most 5 TiB."""
MOST_AT_ONCE = 5 * 2**30
"""What is sent in one request has at most 5 GiB."""
_LONGEST_LINE = 1024
_EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Body:
    """How a body was announced: ``size`` in bytes, without what frames chunks."""

    size: int
    claim: Claim
    key: bytes
    chunked: bool
    md5: bytes | None
    sums: dict[str, str]
    """Checksums by the name of their header."""
    trailer: str
    """The checksum that comes behind the body, "" for none."""


def announced(head: Head, claim: Claim, key: bytes) -> Body:
    """Return how a body is announced; ``key`` signs its chunks. Raises S3Error."""
    chunked = claim.payload in (SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER)
    if claim.payload.startswith("STREAMING-") and not chunked:
        raise S3Error("NotImplemented", f"x-amz-content-sha256: {claim.payload} is not known here")
    length = head.headers.get("x-amz-decoded-content-length" if chunked else "content-length", "")
    if not length.isdecimal():
        raise S3Error("MissingContentLength", "The length of the body must be said beforehand")
    if len(length) > 15 or int(length) > MOST_AT_ONCE:
        raise S3Error("EntityTooLarge", f"One request takes {MOST_AT_ONCE} bytes at most; send parts")
    trailer = head.headers.get("x-amz-trailer", "").strip().lower() if chunked else ""
    if trailer and trailer not in ALGORITHMS:
        raise S3Error("InvalidRequest", f"The trailer {trailer} is not known here")
    sums = {name: head.headers[name] for name in ALGORITHMS if name in head.headers}
    return Body(int(length), claim, key, chunked, _md5(head.headers.get("content-md5")), sums, trailer)


def _md5(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != 16:
        raise S3Error("InvalidDigest", "Content-MD5 is no MD5 in Base64")
    return digest


async def checked(raw: AsyncIterator[bytes], body: Body) -> AsyncIterator[bytes]:
    """Yield the data of a body. Raises S3Error at the end when they are not what was announced."""
    sums = {name: ALGORITHMS[name]() for name in {*body.sums, *([body.trailer] if body.trailer else [])}}
    hashes: list[Sum] = list(sums.values())
    md5 = hashlib.md5(usedforsecurity=False) if body.md5 is not None else None
    whole = hashlib.sha256() if not body.chunked and body.claim.payload != UNSIGNED else None
    hashes += [h for h in (md5, whole) if h is not None]
    unframed = _Chunks(raw, body) if body.chunked else None
    size = 0
    async for piece in unframed.data() if unframed else raw:
        size += len(piece)
        if size > body.size:
            raise S3Error("IncompleteBody", "The body has more bytes than it was said to have")
        for h in hashes:
            h.update(piece)
        yield piece
    if size < body.size:
        raise S3Error("IncompleteBody", "The body has fewer bytes than it was said to have")
    if whole is not None and whole.hexdigest() != body.claim.payload:
        raise S3Error("XAmzContentSHA256Mismatch", "The body is not the one of x-amz-content-sha256")
    if md5 is not None and md5.digest() != body.md5:
        raise S3Error("BadDigest", "The body is not the one of Content-MD5")
    wanted = body.sums | ({body.trailer: unframed.trailers.get(body.trailer, "")} if unframed and body.trailer else {})
    for name, value in wanted.items():
        if encoded(sums[name].digest()) != value:
            raise S3Error("BadDigest", f"The body is not the one of {name}")


class _Chunks:
    """Takes a body out of the chunks of ``aws-chunked``, checking their signatures where they have any."""

    def __init__(self, raw: AsyncIterator[bytes], body: Body) -> None:
        self._raw, self._body = raw, body
        self._held = b""
        self._before = body.claim.signature
        self._signed = body.claim.payload != UNSIGNED_TRAILER
        self.trailers: dict[str, str] = {}

    async def data(self) -> AsyncIterator[bytes]:
        """Yield the data."""
        while True:
            size, signature = self._head(await self._line())
            digest = hashlib.sha256()
            left = size
            while left:
                if not self._held:
                    self._held = await self._more()
                piece, self._held = self._held[:left], self._held[left:]
                left -= len(piece)
                digest.update(piece)
                yield piece
            if self._signed:
                self._check("AWS4-HMAC-SHA256-PAYLOAD", f"{_EMPTY}\n{digest.hexdigest()}", signature)
            if not size:
                break
            if await self._line():
                raise S3Error("IncompleteBody", "A chunk is longer than it says")
        await self._end()

    async def _end(self) -> None:
        lines = ""
        while line := await self._line(end_is_end=True):
            name, _, value = line.partition(":")
            name = name.strip().lower()
            if name == "x-amz-trailer-signature":
                digest = hashlib.sha256(lines.encode()).hexdigest()
                self._check("AWS4-HMAC-SHA256-TRAILER", digest, value.strip())
                lines = ""
            elif len(self.trailers) < 8:
                self.trailers[name] = value.strip()
                lines += f"{name}:{value.strip()}\n"
        if lines and self._signed:
            raise S3Error("SignatureDoesNotMatch", "The trailer is not signed")

    def _head(self, line: str) -> tuple[int, str]:
        size, _, extension = line.partition(";")
        try:
            return int(size, 16), extension.removeprefix("chunk-signature=")
        except ValueError:
            raise S3Error("IncompleteBody", "A chunk does not begin with its length") from None

    def _check(self, what: str, digests: str, signature: str) -> None:
        claim = self._body.claim
        text = f"{what}\n{claim.at}\n{claim.scope}\n{self._before}\n{digests}"
        right = hmac.digest(self._body.key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(right, signature):
            raise S3Error("SignatureDoesNotMatch", "The signature of a chunk is wrong")
        self._before = right

    async def _line(self, *, end_is_end: bool = False) -> str:
        while b"\r\n" not in self._held:
            if len(self._held) > _LONGEST_LINE:
                raise S3Error("IncompleteBody", "A chunk does not begin with its length")
            more = await anext(self._raw, b"")
            if not more:
                if end_is_end and not self._held.strip():
                    return ""
                raise S3Error("IncompleteBody", "The body ends in the middle")
            self._held += more
        line, _, self._held = self._held.partition(b"\r\n")
        if len(line) > _LONGEST_LINE:
            raise S3Error("IncompleteBody", "A chunk does not begin with its length")
        return line.decode("latin-1")

    async def _more(self) -> bytes:
        if more := await anext(self._raw, b""):
            return more
        raise S3Error("IncompleteBody", "The body ends in the middle")
