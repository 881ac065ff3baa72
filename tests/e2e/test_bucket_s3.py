"""A bucket on a real S3 server and a directory: what is written, what is read when one of them is away."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.errors import Unavailable
from automator67.engine.buckets.opening import open_bucket
from automator67.engine.buckets.providers.objects import Objects
from automator67.engine.buckets.providers.protocol import ProviderError
from automator67.engine.buckets.records import About
from automator67.engine.buckets.rules import rules_of
from tests.support.buckets import KEY, content, stream
from tests.support.s3 import ACCESS, S3, SECRET

BIG = os.urandom(730_000)


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3]:
    with S3(tmp_path) as running:
        yield running


def objects(s3: S3, secret: str = SECRET) -> Objects:
    return Objects("one", f"http://127.0.0.1:{s3.port}", "backups", ACCESS, secret, "us-east-1", "below/here")


async def bucket_on(s3: S3, folder: Path) -> Bucket:
    (folder / "disk").mkdir(exist_ok=True)
    secrets = {"key": KEY, "access": ACCESS.encode(), "secret": SECRET.encode()}
    nodes = {
        "disk": {"kind": "local", "bucket": str(folder / "disk")},
        "far": {
            "kind": "s3", "endpoint": f"http://127.0.0.1:{s3.port}", "bucket": "backups/below",
            "access_key": {"secret": "access"}, "secret_key": {"secret": "secret"},
        },
    }  # fmt: skip
    document = {"providers": ["disk", "far"], "key": {"secret": "key"}, "chunk": 100_000}
    return await open_bucket(rules_of("photos", document), nodes, secrets.__getitem__, folder / "state")


async def listed(found: AsyncIterator[object]) -> list[object]:
    return [one async for one in found]


async def test_a_server_keeps_and_gives_back_what_it_is_given(s3: S3) -> None:
    one = objects(s3)
    await one.put("photos/data/aa-1", b"0123456789")
    await one.put("photos/data/ab-2", b"x" * 100_000)
    assert await one.get("photos/data/aa-1") == b"0123456789"
    assert await one.get("photos/data/aa-1", 2, 3) == b"234"
    assert await one.get("photos/data/aa-1", 7) == b"789"
    assert (s3.root / "backups/below/here/photos/data/aa-1").read_bytes() == b"0123456789"
    assert [s.name for s in await listed(one.list("photos/data/"))] == ["photos/data/aa-1", "photos/data/ab-2"]  # type: ignore[attr-defined]
    assert [s.size for s in await listed(one.list("photos/data/ab"))] == [100_000]  # type: ignore[attr-defined]
    assert not await listed(one.list("photos/data/", "photos/data/ab-2"))
    await one.delete("photos/data/aa-1")
    await one.delete("photos/data/aa-1")
    with pytest.raises(ProviderError) as missing:
        await one.get("photos/data/aa-1")
    assert missing.value.kind == "missing"


async def test_a_wrong_key_is_told_from_a_server_that_is_away(s3: S3) -> None:
    with pytest.raises(ProviderError) as refused:
        await objects(s3, "wrong-secret-key").put("photos/data/aa-1", b"x")
    assert "wrong-secret-key" not in str(refused.value)
    assert refused.value.kind == "refused"


async def test_reading_goes_on_without_either_provider_and_nothing_there_can_be_read(s3: S3, tmp_path: Path) -> None:
    bucket = await bucket_on(s3, tmp_path)
    big = await bucket.put("a/big", stream(BIG), About())
    small = await bucket.put("small", stream(b"a small secret"), About())
    stored = [f.read_bytes() for f in (s3.root / "backups" / "below").rglob("*") if f.is_file()]
    assert sum(map(len, stored)) > len(BIG)
    assert not any(b"a small secret" in data or BIG[:64] in data or b"a/big" in data for data in stored)
    (tmp_path / "disk").rename(tmp_path / "lost")
    assert await content(bucket, big, 100_001, 300_000) == BIG[100_001:300_000]
    assert await content(bucket, small) == b"a small secret"
    (tmp_path / "lost").rename(tmp_path / "disk")
    s3.stop()
    assert await content(bucket, big) == BIG
    with pytest.raises(Unavailable):
        await bucket.put("more", stream(BIG), About())
    s3.start()
    await bucket.put("more", stream(BIG), About())
    await bucket.close()
