"""The endpoint: takes requests from clients, finds out who asks, and sends the answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import unquote_to_bytes

from aiohttp import ClientConnectionResetError, web

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.errors import BucketError
from automator67.engine.buckets.writing import new_id
from automator67.engine.s3 import listing, routes
from automator67.engine.s3.access import Holder
from automator67.engine.s3.errors import S3Error, denied, of_bucket
from automator67.engine.s3.request import Answer, Request, xml_answer
from automator67.engine.s3.signature import Head, check, claim_of, query_pairs
from automator67.engine.s3.xml import error_document

log = logging.getLogger("automator67.s3")

_PIECE = 256 * 1024
_PATIENCE_SECONDS = 60.0
"""How long a client may send nothing in the middle of a body."""


class Endpoint:
    """``buckets`` by name; ``holder(key)`` returns who has an access key or raises S3Error; ``domain``: buckets are
    named before it too, as a host."""

    def __init__(self, buckets: Mapping[str, Bucket], holder: Callable[[str], Holder], domain: str = "") -> None:
        self._buckets, self._holder, self._domain = buckets, holder, domain
        self._began = time.time()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        name, origin = new_id()[:16].upper(), request.headers.get("Origin", "")
        path, _, query = request.raw_path.partition("?")
        bucket = ""
        try:
            bucket, key = self._address(path, request.headers.get("Host", ""))
            answer = (
                self._preflight(bucket, origin)
                if request.method == "OPTIONS"
                else await self._answer(request, path, query, bucket, key)
            )
        except (S3Error, BucketError) as error:
            answer = _refusal(of_bucket(error) if isinstance(error, BucketError) else error, path, name)
        except (ConnectionError, TimeoutError):
            answer = _refusal(S3Error("RequestTimeout", "The body did not come"), path, name)
        except Exception:
            log.exception("%s %s failed", request.method, path[:200])
            answer = _refusal(S3Error("InternalError", f"See the log of the endpoint for {name}"), path, name)
        headers = {**answer.headers, "x-amz-request-id": name, "Server": "automator67"}
        if origin and bucket in self._buckets and _allows(self._buckets[bucket], origin):
            headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "*", "Vary": "Origin"}
        return await _sent(request, answer, headers)

    async def _answer(self, request: web.BaseRequest, path: str, query: str, bucket: str, key: str) -> Answer:
        sent: dict[str, str] = {}
        for header, value in request.headers.items():
            low = header.lower()
            sent[low] = f"{sent[low]},{value.strip()}" if low in sent else value.strip()
        head = Head(request.method, path, query_pairs(query), sent)
        claim = claim_of(head)
        if claim is None:
            raise denied("The request is not signed")
        holder = self._holder(claim.key)
        signing_key = check(claim, head, holder.secret, time.time())
        if not bucket:
            return xml_answer(listing.buckets(holder.opens, self._began))
        if bucket not in self._buckets:
            raise S3Error("NoSuchBucket", f"There is no bucket {bucket}; declare it in buckets/{bucket}.yaml")
        holder.enter(bucket)
        return await routes.answer(
            Request(head, claim, signing_key, holder, self._buckets, self._buckets[bucket], key, _body(request))
        )

    def _address(self, path: str, host: str) -> tuple[str, str]:
        """Return bucket and key of a path, or of the host's name and a path. Raises S3Error."""
        try:
            text = unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            raise S3Error("InvalidURI", "The path is not valid UTF-8") from None
        inside = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if self._domain and inside.lower().endswith(f".{self._domain}"):
            return inside.lower().removesuffix(f".{self._domain}"), text.removeprefix("/")
        bucket, _, key = text.removeprefix("/").partition("/")
        return bucket, key

    def _preflight(self, bucket: str, origin: str) -> Answer:
        if bucket not in self._buckets or not _allows(self._buckets[bucket], origin):
            raise denied("CORS: this origin may not ask here")
        methods = "GET, HEAD, PUT, POST, DELETE"
        headers = {"Access-Control-Allow-Methods": methods, "Access-Control-Allow-Headers": "*, Authorization"}
        return Answer(200, headers | {"Access-Control-Max-Age": "3600"})


def _allows(bucket: Bucket, origin: str) -> bool:
    return origin in bucket.rules.cors or "*" in bucket.rules.cors


def _refusal(error: S3Error, path: str, name: str) -> Answer:
    return Answer(
        error.status, {"Content-Type": "application/xml"}, error_document(error.code, str(error), path[:1024], name)
    )


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    while True:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            piece = await request.content.readany()
        if not piece:
            return
        yield piece


async def _sent(request: web.BaseRequest, answer: Answer, headers: Mapping[str, str]) -> web.StreamResponse:
    """Send an answer. A stream that breaks off closes the connection, so that the client sees that it is not whole."""
    if isinstance(answer.body, bytes):
        response: web.StreamResponse = web.Response(status=answer.status, headers=headers, body=answer.body)
        if request.method == "HEAD" and answer.length is not None:
            response = web.StreamResponse(status=answer.status, headers=headers)
            response.content_length = answer.length
        await _finished(request, response)
        return response
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_length = answer.length
    await response.prepare(request)
    try:
        async for piece in answer.body:
            for at in range(0, len(piece), _PIECE):
                await response.write(memoryview(piece)[at : at + _PIECE])
        await response.write_eof()
    except (ConnectionError, ClientConnectionResetError):
        pass
    except BucketError as error:
        log.error("an answer breaks off: %s", error)
        if request.transport is not None:
            request.transport.abort()
    return response


async def _finished(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Close the connection after an answer to a body that was not read whole."""
    if not request.content.is_eof() and request.headers.get("Expect"):
        response.force_close()
    await response.prepare(request)
    await response.write_eof()
