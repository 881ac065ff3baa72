"""Programs that work on a bucket are killed at each of their steps: nothing that was acknowledged is ever lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.collect import GRACE_SECONDS, collect
from automator67.engine.buckets.rebuild import rebuild
from automator67.engine.buckets.records import About
from automator67.engine.buckets.repair import repair, verify
from automator67.engine.buckets.rules import rules_of
from tests.support.buckets import KEY, blobs, bucket_at, content, stream

BIG = os.urandom(350_000)
DAY = 86400.0

WORK = """
import asyncio, sys
from pathlib import Path
from automator67.engine.buckets.collect import collect
from automator67.engine.buckets.records import About
from automator67.engine.buckets.repair import repair
from tests.support.buckets import bucket_at, stream

async def put(b):
    await b.put("new", stream(b"n" * 350_000), About())
    await b.put("new-small", stream(b"n"), About())

async def mend(b):
    b.fleet.members["p0"].leaving = True
    await repair(b)

async def tidy(b):
    now = (await b.head("kept")).created
    await collect(b, now + 40 * 86400)
    await collect(b, now + 42 * 86400)

async def main():
    bucket = await bucket_at(Path(sys.argv[1]), 3)
    await globals()[sys.argv[2]](bucket)
    await bucket.close()

asyncio.run(main())
"""

STEPS = [
    ("put", "bucket-chunk-intent"), ("put", "bucket-chunk-written"), ("put", "bucket-intent"),
    ("put", "bucket-written"), ("put", "bucket-committed"), ("mend", "bucket-copied"),
    ("mend", "bucket-copy-forgotten"), ("tidy", "bucket-intent"), ("tidy", "bucket-written"),
    ("tidy", "bucket-condemned"), ("tidy", "bucket-removed"),
]  # fmt: skip


async def filled(folder: Path) -> None:
    bucket = await bucket_at(folder, 3)
    await bucket.put("kept", stream(BIG), About())
    await bucket.put("kept-small", stream(b"small"), About())
    await bucket.put("gone", stream(BIG), About())
    await bucket.delete("gone")
    await bucket.close()


async def sound(bucket: Bucket) -> None:
    """What was acknowledged is there, every copy is good, and what was not acknowledged is whole or not there."""
    assert await content(bucket, await bucket.head("kept")) == BIG
    assert await content(bucket, await bucket.head("kept-small")) == b"small"
    for key, data in (("new", b"n" * 350_000), ("new-small", b"n")):
        newest = await bucket.newest(key)
        assert newest is None or await content(bucket, newest) == data
    assert (await repair(bucket)).lost == []
    found = await verify(bucket)
    assert (found.bad, found.away, found.lost) == (0, 0, [])


async def checked(folder: Path) -> None:
    bucket = await bucket_at(folder, 3)
    await sound(bucket)
    # What was left half done goes with the next collections, and takes nothing along.
    now = (await bucket.head("kept")).created + 50 * DAY
    await collect(bucket, now)
    await collect(bucket, now + GRACE_SECONDS + 1)
    await sound(bucket)
    known = {name for (name,) in bucket.ledger.reader.execute("SELECT name FROM blobs")}
    assert {f.relative_to(folder).as_posix().partition("/")[2] for f in blobs(folder)} <= known
    await bucket.close()
    shutil.rmtree(folder / "state")
    names = ["p0", "p1", "p2"]
    rules = rules_of("photos", {"providers": names, "key": {"secret": "k"}, "chunk": 100_000})
    nodes = {n: {"kind": "local", "bucket": str(folder / n)} for n in names}
    assert (await rebuild(rules, nodes, lambda _: KEY, folder / "state")).missing == 0
    again = await bucket_at(folder, 3)
    await sound(again)
    await again.close()


@pytest.mark.parametrize(("work", "step"), STEPS)
def test_whoever_is_killed_at_any_step_leaves_a_whole_bucket(tmp_path: Path, work: str, step: str) -> None:
    asyncio.run(filled(tmp_path))
    killed = subprocess.run(
        [sys.executable, "-c", WORK, str(tmp_path), work], env={**os.environ, "A67_CRASH_AT": step}, timeout=60,
        capture_output=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    asyncio.run(checked(tmp_path))
