"""Signatures and bodies as Amazon documents them, with its published examples; and what is refused.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, .../sigv4-query-string-auth.html,
.../sigv4-streaming.html
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.s3.errors import S3Error
from automator67.engine.s3.payload import announced, checked
from automator67.engine.s3.signature import Claim, Head, check, claim_of, query_pairs

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
AT = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
EMPTY = hashlib.sha256(b"").hexdigest()
HOST = "examplebucket.s3.amazonaws.com"
SCOPE = f"{KEY}/20130524/us-east-1/s3/aws4_request"


def head(method: str, path: str, query: str, signature: str, signed: str = "", **headers: str) -> Head:
    given = {"host": HOST, "x-amz-date": "20130524T000000Z", "x-amz-content-sha256": EMPTY}
    given |= {k.replace("_", "-"): v for k, v in headers.items()}
    names = signed or ";".join(sorted(given))
    given["authorization"] = f"AWS4-HMAC-SHA256 Credential={SCOPE},SignedHeaders={names},Signature={signature}"
    return Head(method, path, query_pairs(query), given)


DOCUMENTED = {
    "GetObject": head(
        "GET", "/test.txt", "", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", range="bytes=0-9"
    ),
    "PutObject": head(
        "PUT", "/test%24file.text", "", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        date="Fri, 24 May 2013 00:00:00 GMT", x_amz_storage_class="REDUCED_REDUNDANCY",
        x_amz_content_sha256=hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
    ),
    "GetBucketLifecycle": head(
        "GET", "/", "lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    ),
    "ListObjects": head(
        "GET", "/", "max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    ),
}  # fmt: skip


def verified(request: Head, now: float = AT, secret: str = SECRET) -> Claim:
    claim = claim_of(request)
    assert claim is not None
    check(claim, request, secret, now)
    return claim


def refused(request: Head, now: float = AT, secret: str = SECRET) -> str:
    with pytest.raises(S3Error) as error:
        verified(request, now, secret)
    return error.value.code


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_requests_are_taken_and_nothing_near_them(name: str) -> None:
    request = DOCUMENTED[name]
    assert verified(request).key == KEY
    assert refused(request, secret="another") == "SignatureDoesNotMatch"
    assert refused(request, now=AT + 1000) == "RequestTimeTooSkewed"
    assert refused(replace(request, method="DELETE")) == "SignatureDoesNotMatch"
    assert refused(replace(request, path="/other")) == "SignatureDoesNotMatch"
    assert refused(replace(request, query=[*request.query, ("x", "1")])) == "SignatureDoesNotMatch"
    assert refused(replace(request, headers={**request.headers, "x-amz-meta-a": "1"})) == "AccessDenied"


def test_a_documented_presigned_url_is_taken_until_it_expires() -> None:
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={SCOPE.replace('/', '%2F')}&X-Amz-Date=20130524T000000Z"
        "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    request = Head("GET", "/test.txt", query_pairs(query), {"host": HOST})
    assert verified(request).expires == 86400
    assert verified(request, now=AT + 86400)
    assert refused(request, now=AT + 86401) == "AccessDenied"
    longer = query.replace("86400", "864000")
    code = refused(Head("GET", "/test.txt", query_pairs(longer), {"host": HOST}))
    assert code == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Basic abc", "InvalidRequest"),
        ("AWS4-HMAC-SHA256 Credential=x", "AuthorizationHeaderMalformed"),
        (f"AWS4-HMAC-SHA256 Credential={SCOPE},SignedHeaders=host,Signature=12", "AuthorizationHeaderMalformed"),
        (f"AWS4-HMAC-SHA256 Credential=a/b,SignedHeaders=host,Signature={'0' * 64}", "AuthorizationHeaderMalformed"),
        (
            f"AWS4-HMAC-SHA256 Credential={SCOPE.replace('/s3/', '/ec2/')},SignedHeaders=host,Signature={'0' * 64}",
            "AuthorizationHeaderMalformed",
        ),
    ],
)
def test_what_is_no_signature_is_said_to_be_none(text: str, code: str) -> None:
    request = DOCUMENTED["GetObject"]
    assert refused(replace(request, headers={**request.headers, "authorization": text})) == code


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def taken(request: Head, body: bytes, size: int = 1000, key: bytes = b"") -> bytes:
    claim = claim_of(request)
    assert claim is not None
    return b"".join([p async for p in checked(pieces(body, size), announced(request, claim, key))])


def chunked(first: str = "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648") -> tuple[Head, bytes]:
    request = head(
        "PUT", "/examplebucket/chunkObject.txt", "", "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        host="s3.amazonaws.com", x_amz_content_sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD", content_length="66824",
        content_encoding="aws-chunked", x_amz_decoded_content_length="66560", x_amz_storage_class="REDUCED_REDUNDANCY",
    )  # fmt: skip
    body = b"".join((
        f"10000;chunk-signature={first}\r\n".encode(), b"a" * 65536, b"\r\n",
        b"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n", b"a" * 1024,
        b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n",
    ))  # fmt: skip
    return request, body


@pytest.mark.parametrize("size", [1, 17, 65536, 100_000])
async def test_the_documented_chunks_are_taken_however_they_arrive(size: int) -> None:
    request, body = chunked()
    claim = claim_of(request)
    assert claim is not None
    key = check(claim, request, SECRET, AT)
    assert await taken(request, body, size, key) == b"a" * 66560


@pytest.mark.parametrize("change", ["signature", "data", "cut", "longer"])
async def test_chunks_that_were_tampered_with_are_refused(change: str) -> None:
    request, body = chunked("0" * 64) if change == "signature" else chunked()
    body = {"data": body.replace(b"aaa", b"aba", 1), "cut": body[:-90]}.get(change, body)
    if change == "longer":
        body = body.replace(b"10000;", b"10001;", 1)
    claim = claim_of(request)
    assert claim is not None
    key = check(claim, request, SECRET, AT)
    with pytest.raises(S3Error) as error:
        await taken(request, body, 1000, key)
    assert error.value.code in ("SignatureDoesNotMatch", "IncompleteBody")


def unsigned(body: bytes, **headers: str) -> Head:
    usual = {"content_length": str(len(body)), "x_amz_content_sha256": "UNSIGNED-PAYLOAD"}
    return head("PUT", "/x", "", "0" * 64, **usual | headers)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content_md5": base64.b64encode(b"0" * 16).decode()}, "BadDigest"),
        ({"content_md5": "zz"}, "InvalidDigest"),
        ({"x_amz_checksum_crc32": "AAAAAA=="}, "BadDigest"),
        ({"x_amz_checksum_crc64nvme": "AAAAAAAAAAA="}, "BadDigest"),
        ({"x_amz_content_sha256": "0" * 64}, "XAmzContentSHA256Mismatch"),
        ({"content_length": "4"}, "IncompleteBody"),
        ({"content_length": "6"}, "IncompleteBody"),
        ({"content_length": "5497558138880"}, "EntityTooLarge"),
        ({"content_length": "9" * 30}, "EntityTooLarge"),
        ({"content_length": "many"}, "MissingContentLength"),
        ({"x_amz_content_sha256": "STREAMING-UNKNOWN"}, "NotImplemented"),
    ],
)
async def test_a_body_that_is_not_what_was_announced_is_refused(headers: dict[str, str], code: str) -> None:
    with pytest.raises(S3Error) as error:
        await taken(unsigned(b"hello", **headers), b"hello")
    assert error.value.code == code


@given(data=st.binary(max_size=5000), sizes=st.lists(st.integers(1, 999), min_size=1), size=st.integers(1, 3000))
def test_unsigned_chunks_with_a_trailer_give_back_what_went_in(data: bytes, sizes: list[int], size: int) -> None:
    body, at = b"", 0
    while at < len(data):
        piece = data[at : at + sizes[at % len(sizes)]]
        body, at = body + b"%x\r\n%s\r\n" % (len(piece), piece), at + len(piece)
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
    request = unsigned(
        body, x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER", x_amz_trailer="x-amz-checksum-crc32",
        x_amz_decoded_content_length=str(len(data)),
    )  # fmt: skip
    trailer = b"0\r\nx-amz-checksum-crc32:%s\r\n\r\n"
    assert asyncio.run(taken(request, body + trailer % crc, size)) == data
    for end in (trailer % crc[::-1], b"0\r\n\r\n"):
        with pytest.raises(S3Error):
            asyncio.run(taken(request, body + end, size))


@given(st.binary(max_size=300))
def test_no_bytes_in_place_of_chunks_do_more_than_be_refused(data: bytes) -> None:
    request = unsigned(
        data, x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER", x_amz_decoded_content_length="10"
    )
    with pytest.raises(S3Error):
        asyncio.run(taken(request, b"5\r\n" + data))
