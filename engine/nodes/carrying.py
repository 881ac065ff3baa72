"""What is too large for a message: trees of sources to nodes, and images from node to node through here.

Nothing of an image is kept: what one node sends is written to the other as it comes, and a reader that is slow makes
the sender wait. The last 32 bytes of a stream are the SHA-256 of all before, so that what arrives is known to be whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import ClientError, web

from automator67.engine.nodes.refusals import refusal
from automator67.engine.nodes.tasks import TaskBroker, TaskError

log = logging.getLogger("automator67.carrying")

MAX_IMAGE = 32 * 2**30
AT_ONCE = 4
"""How many images are carried at the same time; others wait."""
MAX_LAYERS = 10_000
PIECE = 256 * 1024
GONE = "gone: "
"""How an agent's error begins when it does not have the image (any more)."""
_KEY = re.compile(r"[0-9a-f]{12}")
_CHAIN = re.compile(r"sha256:[0-9a-f]{64}")


class Carrier:
    """``tree(node, key)`` returns the tar file that a node may have, None when it may not; ``holders(node, image)``
    the nodes that have an image, None when the asking node has no business with it. ``lost(image)``: nobody has it.
    """

    def __init__(
        self,
        broker: TaskBroker,
        tree: Callable[[str, str], Awaitable[Path | None]],
        holders: Callable[[str, str], list[str] | None],
        lost: Callable[[str], None],
    ) -> None:
        self._broker = broker
        self._tree, self._holders, self._lost = tree, holders, lost
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._node: Callable[[web.Request], str] = lambda _request: ""

    def add_to(self, router: web.UrlDispatcher, node: Callable[[web.Request], str]) -> None:
        """Serve the requests below; ``node(request)`` returns who asks, or raises the refusal."""
        self._node = node
        router.add_get("/v1/trees/{key}", self._get_tree)
        router.add_post("/v1/images", self._get_image)
        router.add_put("/v1/images/{id}", self._put_image)

    async def _get_tree(self, request: web.Request) -> web.StreamResponse:
        node, key = self._node(request), request.match_info["key"]
        file = await self._tree(node, key) if _KEY.fullmatch(key) else None
        if file is None:
            raise refusal(404, f"node {node} has no use for source {key[:12]}", "")
        response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
        await response.prepare(request)
        whole = hashlib.sha256()
        with file.open("rb") as source:
            while data := await asyncio.to_thread(source.read, PIECE):
                whole.update(data)
                await response.write(data)
        await response.write(whole.digest())
        await response.write_eof()
        return response

    async def _get_image(self, request: web.Request) -> web.StreamResponse:
        """Stream an image from a node that has it, without the layers that the asking node has."""
        node = self._node(request)
        image, have = _wanted(await request.read())
        holders = self._holders(node, image)
        if holders is None:
            raise refusal(404, f"node {node} has no use for image {image}", "")
        async with self._slots:
            trouble = "no node has it"
            for holder in [h for h in holders if h != node]:
                try:
                    return await self._carry(request, holder, image, have)
                except TaskError as error:
                    trouble = str(error)
                    log.info("image %s from %s to %s: %s", image, holder, node, error)
                    if not trouble.startswith(GONE):
                        break
            else:
                self._lost(image)
        text = f"image {image} cannot be had now: {trouble.removeprefix(GONE)}"
        raise refusal(409, text, "it is built again when no node has it")

    async def _carry(self, request: web.Request, holder: str, image: str, have: list[str]) -> web.StreamResponse:
        """Raises TaskError when nothing was sent yet; later, the connection is broken off."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
        async with self._broker.ask(holder, "export", image=image, have=have) as task:
            begun, total = False, 0
            try:
                async for batch in task.batches():
                    for piece in batch:
                        if not begun:
                            await response.prepare(request)
                            begun = True
                        await response.write(piece["bytes"])
                        total += len(piece["bytes"])
            except TaskError:
                if not begun:
                    raise
                # No end of the body: the reader sees that it is not whole.
                if request.transport is not None:
                    request.transport.close()
                return response
            if not begun:
                raise TaskError(f"node {holder} sent nothing")
        await response.write_eof()
        log.info("carried %s from %s to %s: %d bytes", image, holder, self._node(request), total)
        return response

    async def _put_image(self, request: web.Request) -> web.Response:
        """Take what a node was asked to send, as fast as it is read on the other side."""
        node = self._node(request)
        try:
            task = self._broker.start(node, request.match_info["id"])
        except TaskError as error:
            raise refusal(404, str(error), "") from error
        if task.message["kind"] != "export":
            raise refusal(404, "this task sends no image", "")
        total = 0
        try:
            async for data in request.content.iter_any():
                total += len(data)
                if total > MAX_IMAGE:
                    task.end(f"the image has more than {MAX_IMAGE >> 30} GiB")
                    raise refusal(409, "the image is too large", "")
                if not await task.put([{"bytes": data}]):
                    raise refusal(409, "nobody reads the image any more", "")
        except (ClientError, ConnectionError, asyncio.CancelledError):
            task.end(f"the connection to node {node} broke")
            raise
        task.end()
        return web.json_response({})


def _wanted(body: bytes) -> tuple[str, list[str]]:
    """Return image and layer chains of a request. Raises the refusal."""
    try:
        data: Any = json.loads(body)
        image, have = data["image"], data["have"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise refusal(422, "an image is asked for as {image, have}", "see docs/protocol.md") from None
    good = isinstance(image, str) and isinstance(have, list) and len(have) <= MAX_LAYERS
    if not good or not all(isinstance(chain, str) and _CHAIN.fullmatch(chain) for chain in have):
        raise refusal(422, "have is a list of layer chains", "see docs/protocol.md")
    return image, have
