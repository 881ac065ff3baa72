"""One request on its way through: what it asks of which bucket, who asks, and its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.s3.access import Holder, Need
from automator67.engine.s3.errors import S3Error
from automator67.engine.s3.payload import Body, announced, checked
from automator67.engine.s3.signature import Claim, Head
from automator67.engine.s3.xml import MOST_BYTES


@dataclass(frozen=True, slots=True)
class Answer:
    """``body`` is bytes, or a stream of ``length`` bytes."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""
    length: int | None = None


def xml_answer(body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a document as an answer."""
    return Answer(200, {"Content-Type": "application/xml", **(headers or {})}, body)


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose signature is right. ``key``: the name of the object, "" for the bucket itself."""

    head: Head
    claim: Claim
    signing_key: bytes
    holder: Holder
    buckets: Mapping[str, Bucket]
    bucket: Bucket
    key: str
    raw: AsyncIterator[bytes]

    def need(self, what: Need, key: str | None = None) -> None:
        """Raise S3Error unless whoever asks may read or write the object (or one of another name)."""
        self.holder.allow(self.bucket.name, what, self.key if key is None else key)

    @property
    def versions(self) -> bool:
        """Whether versions of objects are told of."""
        return self.bucket.rules.versions

    @property
    def version(self) -> str | None:
        """The version that is asked for. ``null`` is the one there is where there are no versions."""
        asked = self.head.asked("versionId")
        return asked if asked and asked != "null" else None

    def announced(self) -> Body:
        """Return how the body is announced. Raises S3Error."""
        return announced(self.head, self.claim, self.signing_key)

    def data(self) -> AsyncIterator[bytes]:
        """Return the body, which raises S3Error at its end when it is not what was announced."""
        return checked(self.raw, self.announced())

    async def document(self) -> bytes:
        """Return a body that is small. Raises S3Error."""
        body = self.announced()
        if body.size > MOST_BYTES:
            raise S3Error("EntityTooLarge", f"This takes {MOST_BYTES} bytes at most")
        return b"".join([piece async for piece in checked(self.raw, body)])
