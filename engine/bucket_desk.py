"""Lets nodes into the buckets that snapshots of volumes go to: their requests of S3 come to the agents' endpoint.

A node shows its certificate like for everything else, and an access key that opens the snapshots of one volume
(engine/s3/access.py). What it asks is handed on, unchanged, to the process that serves the bucket.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientResponse, web

from automator67.engine.bucket_server import BucketServer, NotServed
from automator67.engine.buckets.rules import rules_of
from automator67.engine.desired import Desired
from automator67.engine.s3.errors import STATUS
from automator67.engine.s3.xml import error_document
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.keys import Keyring
from automator67.engine.secrets.vault import Vault

log = logging.getLogger("automator67.buckets")

IDLE_SECONDS = 300.0
"""How long a bucket that nobody asks for stays open."""
_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"})
_PIECE = 256 * 1024
_Of = tuple[Desired | None, Vault | None]


class BucketDesk:
    """For the event loop. ``vault`` and ``desired`` return those of the newest commit, None before there is one."""

    def __init__(
        self, keyring: Keyring, state: Path, vault: Callable[[], Vault | None], desired: Callable[[], Desired | None]
    ) -> None:
        self._keyring, self._state, self._vault, self._desired = keyring, state, vault, desired
        self._servers: dict[str, tuple[_Of, Mapping[str, Any], BucketServer]] = {}
        """By bucket: of which commit and vault it is, what it was told, and its process."""
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._used: dict[str, float] = {}
        self._node: Callable[[web.Request], str] = lambda _request: ""

    def add_to(self, router: web.UrlDispatcher, node: Callable[[web.Request], str]) -> None:
        """Serve the requests of S3; ``node(request)`` returns who asks, or raises the refusal."""
        self._node = node
        for path in (r"/{bucket:(?!v1/)[a-z0-9][a-z0-9-]*}", r"/{bucket:(?!v1/)[a-z0-9][a-z0-9-]*}/{key:.*}"):
            router.add_route("*", path, self.handle)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request of S3."""
        self._node(request)
        bucket = request.match_info["bucket"]
        try:
            server = await self._server(bucket)
        except (NotServed, SecretError) as error:
            return _refusal("InvalidRequest", f"bucket {bucket}: {error}", request.path)
        server.busy += 1
        try:
            return await _handed_on(request, server)
        except (ClientError, ConnectionError) as error:
            log.warning("bucket %s: a request was broken off: %s", bucket, type(error).__name__)
            return _refusal("ServiceUnavailable", f"bucket {bucket} is being opened again", request.path)
        finally:
            server.busy -= 1
            self._used[bucket] = asyncio.get_running_loop().time()

    async def tick(self) -> None:
        """Close what nobody has asked for in a while."""
        now = asyncio.get_running_loop().time()
        for bucket, (_, _, server) in list(self._servers.items()):
            if not server.busy and now - self._used.get(bucket, now) > IDLE_SECONDS:
                async with self._turns[bucket]:
                    await self._close(bucket)

    async def stop(self) -> None:
        """Close all of them."""
        for bucket in list(self._servers):
            await self._close(bucket)

    async def _server(self, bucket: str) -> BucketServer:
        """Return the process of a bucket as it is declared now. Raises NotServed, SecretError."""
        async with self._turns[bucket]:
            self._used[bucket] = asyncio.get_running_loop().time()
            of = self._desired(), self._vault()
            if bucket in self._servers:
                known, told, server = self._servers[bucket]
                if not server.runs:
                    await self._close(bucket)
                elif known[0] is of[0] and known[1] is of[1]:
                    return server
            wanted = await asyncio.to_thread(self._told, bucket, *of)
            if bucket in self._servers:
                if told == wanted:
                    self._servers[bucket] = of, told, server
                    return server
                await self._close(bucket)
            server = BucketServer(wanted, self._state / f"bucket-{bucket}.sock")
            await server.start()
            self._servers[bucket] = of, wanted, server
            return server

    async def _close(self, bucket: str) -> None:
        _, _, server = self._servers.pop(bucket)
        await server.stop()

    def _told(self, bucket: str, desired: Desired | None, vault: Vault | None) -> Mapping[str, Any]:
        if desired is None or vault is None:
            raise NotServed("no commit was read yet")
        document = next((o.document for o in desired.others if (o.kind, o.name) == ("bucket", bucket)), None)
        if document is None:
            raise NotServed(f"there is no buckets/{bucket}.yaml")
        rules = rules_of(bucket, document)
        nodes = {s.node: desired.nodes[s.node].document for s in rules.providers if s.node in desired.nodes}
        keys = [n[k]["secret"] for n in nodes.values() for k in ("access_key", "secret_key") if k in n]
        secrets = {name: base64.b64encode(vault.value(name)).decode() for name in (rules.key, *keys) if name}
        return {
            "name": bucket, "bucket": document, "nodes": nodes, "secrets": secrets, "state": str(self._state),
            "grants": self._keyring.bucket_password(bucket),
        }  # fmt: skip


async def _handed_on(request: web.Request, server: BucketServer) -> web.StreamResponse:
    assert server.session is not None
    headers = [(k, v) for k, v in request.headers.items() if k.lower() not in _HOP]
    body = request.content.iter_any() if request.can_read_body else None
    async with server.session.request(
        request.method, request.rel_url, headers=headers, data=body, allow_redirects=False, skip_auto_headers=_AUTOMATIC
    ) as answer:
        return await _streamed(request, answer)


_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""What a client adds of itself: a request must stay as it was signed."""


async def _streamed(request: web.Request, answer: ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status)
    for key, value in answer.headers.items():
        if key.lower() not in _HOP:
            response.headers.add(key, value)
    await response.prepare(request)
    if request.method != "HEAD":
        try:
            async for piece in answer.content.iter_chunked(_PIECE):
                await response.write(piece)
        except ClientError:
            # Its length was promised: the node sees that it is not whole.
            if request.transport is not None:
                request.transport.abort()
            return response
    await response.write_eof()
    return response


def _refusal(code: str, text: str, resource: str) -> web.Response:
    body = error_document(code, text, resource[:1024], "")
    return web.Response(status=STATUS[code], body=body, content_type="application/xml")
