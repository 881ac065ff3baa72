"""The S3 endpoint in a thread of the test, over a bucket in directories."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.s3.access import holder_of, holders
from automator67.engine.s3.server import Endpoint
from tests.support.buckets import bucket_at

T = TypeVar("T")

ID, SECRET = "AKEXAMPLE", "a secret key for tests"
READER, WRITER, INSIDE = "AKREADER", "AKWRITER", "AKINSIDE"
ACCESS = [
    {"id": ID, "secret": {"secret": "all"}},
    {"id": READER, "secret": {"secret": "all"}, "allow": "read"},
    {"id": WRITER, "secret": {"secret": "all"}, "allow": "write"},
    {"id": INSIDE, "secret": {"secret": "all"}, "prefix": "inside/"},
]


class RunningEndpoint:
    """``url`` is where it listens; ``run`` does something with the bucket in its loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bucket: Bucket, port: int) -> None:
        self._loop, self.bucket, self.port = loop, bucket, port
        self.url = f"http://127.0.0.1:{port}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@contextmanager
def running_endpoint(folder: Path, **rules: Any) -> Iterator[RunningEndpoint]:
    """Serve bucket ``photos`` below ``folder`` on a free port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> tuple[Bucket, web.ServerRunner, int]:
        bucket = await bucket_at(folder, access=ACCESS, **rules)
        known = holders([bucket.rules], {"all": SECRET})
        endpoint = Endpoint({"photos": bucket}, partial(holder_of, known=known), "s3.test")
        runner = web.ServerRunner(web.Server(endpoint.handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return bucket, runner, runner.addresses[0][1]

    async def end() -> None:
        await runner.cleanup()
        await bucket.close()

    bucket, runner, port = asyncio.run_coroutine_threadsafe(begin(), loop).result(60)
    try:
        yield RunningEndpoint(loop, bucket, port)
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
