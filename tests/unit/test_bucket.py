"""A bucket over two directories: what is put is found, read, copied, deleted and restored."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.errors import (
    BadRequest,
    Corrupt,
    KeyProblem,
    NotFound,
    QuotaExceeded,
    Refused,
    Unavailable,
)
from automator67.engine.buckets.opening import OpenError
from automator67.engine.buckets.records import About, Expect
from tests.support.buckets import blobs, bucket_at, content, stream

BIG = os.urandom(1_234_567)


async def test_what_is_put_is_read_whole_and_in_ranges(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path)
    for name, data in (("empty", b""), ("small", b"hello"), ("cut", BIG[:600_000]), ("big", BIG)):
        about = About("text/x", {"cache-control": "no-store"}, {"who": "ana"}, {"t": "1"})
        put = await bucket.put(name, stream(data), about)
        found = await bucket.head(name)
        assert found == put
        assert (found.size, found.about) == (len(data), about)
        assert await content(bucket, found) == data
    big = await bucket.head("big")
    for start, end in ((0, 1), (99_999, 100_001), (100_000, 200_000), (1_234_560, 1_234_567), (5, 5)):
        assert await content(bucket, big, start, end) == BIG[start:end]
    with pytest.raises(BadRequest):
        await content(bucket, big, 0, len(BIG) + 1)
    await bucket.close()
    again = await bucket_at(tmp_path)
    assert await content(again, await again.head("big")) == BIG
    await again.close()


async def test_two_providers_hold_it_and_neither_can_read_it(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path)
    await bucket.put("secret/name", stream(b"plain text " * 100_000), About(metadata={"meta": "private"}))
    await bucket.put("small", stream(b"plain text"), About())
    await bucket.close()
    files = blobs(tmp_path)
    assert {f.relative_to(tmp_path / "p0") for f in files if "p0" in f.parts} == {
        f.relative_to(tmp_path / "p1") for f in files if "p1" in f.parts
    }
    for file in files:
        data = file.read_bytes()
        assert not any(word in data for word in (b"plain", b"secret/name", b"private"))


async def test_small_objects_that_come_together_travel_together(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path)
    names = [f"n{i:04}" for i in range(500)]
    await asyncio.gather(*(bucket.put(n, stream(n.encode()), About()) for n in names))
    assert len(blobs(tmp_path)) <= 2 * 500 / 20
    for name in names:
        assert await content(bucket, await bucket.head(name)) == name.encode()
    await bucket.close()


async def test_conditions_decide_who_was_first(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path)

    async def first(n: int) -> bool:
        try:
            await bucket.put("one", stream(str(n).encode()), About(), Expect(absent=True))
        except Refused:
            return False
        return True

    won = await asyncio.gather(*(first(n) for n in range(20)))
    assert sum(won) == 1
    now = await bucket.head("one")
    assert await content(bucket, now) == str(won.index(True)).encode()
    changed = await bucket.put("one", stream(b"new"), About(), Expect(etag=now.etag))
    with pytest.raises(Refused):
        await bucket.put("one", stream(b"late"), About(), Expect(etag=now.etag))
    with pytest.raises(NotFound):
        await bucket.put("two", stream(b""), About(), Expect(etag=now.etag))
    assert await bucket.head("one") == changed
    await bucket.close()


async def test_deleted_objects_and_older_versions_come_back(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path)
    old = await bucket.put("a", stream(b"old"), About())
    await bucket.put("a", stream(b"new"), About())
    assert await bucket.delete("a") is not None
    with pytest.raises(NotFound):
        await bucket.head("a")
    assert (await bucket.list()).versions == ()
    assert [v.marker for v in await bucket.versions()] == [True, False, False]
    assert await content(bucket, await bucket.restore("a")) == b"new"
    assert await content(bucket, await bucket.restore("a", old.id)) == b"old"
    one = await bucket.head("a")
    await bucket.delete("a", one.id)
    assert await content(bucket, await bucket.head("a")) == b"new"
    assert await bucket.delete("nothing") is None
    await bucket.close()


async def test_a_copy_shares_the_data(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path)
    put = await bucket.put("a", stream(BIG), About())
    before = sum(f.stat().st_size for f in blobs(tmp_path))
    copy = await bucket.copy(put, "b", About("text/copied"))
    assert sum(f.stat().st_size for f in blobs(tmp_path)) - before < 4096
    assert copy.about.content_type == "text/copied"
    await bucket.delete("a", put.id)
    assert await content(bucket, await bucket.head("b")) == BIG
    await bucket.close()


async def test_listing_goes_page_by_page_with_and_without_delimiter(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path)
    names = ["a", "a/1", "a/2/x", "a/2/y", "b/", "b/1", "b0", "ä/é", "\U0010ffff", "\x00\x01 %?&+"]
    await asyncio.gather(*(bucket.put(n, stream(b"x"), About()) for n in names))

    async def everything(prefix: str, delimiter: str, limit: int) -> list[str]:
        found: list[str] = []
        after = ""
        while True:
            page = await bucket.list(prefix, delimiter, after, limit)
            found += sorted([*(v.key for v in page.versions), *page.prefixes])
            assert len(page.versions) + len(page.prefixes) <= limit
            if not page.next:
                return found
            after = page.next

    for prefix in ("", "a", "a/", "b", "\U0010ffff", "none"):
        for delimiter in ("", "/"):
            below = [n for n in names if n.startswith(prefix)]
            want = sorted({_rolled(n, prefix, delimiter) for n in below})
            for limit in (1, 2, 3, 100):
                assert await everything(prefix, delimiter, limit) == want
    await bucket.close()


def _rolled(name: str, prefix: str, delimiter: str) -> str:
    head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
    return prefix + head + found if found else name


async def test_uploads_in_parts(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path)
    upload = await bucket.uploads.begin("big", About("video/x"))
    await bucket.uploads.put_part(upload, 1, stream(b"replaced"))
    one = await bucket.uploads.put_part(upload, 1, stream(BIG[:700_000]))
    two = await bucket.uploads.put_part(upload, 7, stream(BIG[700_000:]))
    await bucket.uploads.put_part(upload, 9, stream(b"not wanted"))
    assert [p.number for p in bucket.uploads.parts(upload)] == [1, 7, 9]
    assert [u.key for u in bucket.uploads.list("b")] == ["big"]
    for wrong in ([], [(7, two.etag), (1, one.etag)], [(1, "x")], [(1, one.etag), (2, two.etag)]):
        with pytest.raises(BadRequest):
            await bucket.uploads.complete(upload, wrong)
    await bucket.close()
    bucket = await bucket_at(tmp_path)
    done = await bucket.uploads.complete(upload, [(1, one.etag), (7, two.etag)])
    assert await content(bucket, done) == BIG
    assert done.etag.endswith("-2")
    assert (done.parts, done.about.content_type) == (2, "video/x")
    with pytest.raises(NotFound):
        await bucket.uploads.complete(upload, [(1, one.etag)])
    gone = await bucket.uploads.begin("big", About())
    await bucket.uploads.put_part(gone, 1, stream(b"x"))
    await bucket.uploads.abort(gone)
    assert bucket.uploads.list() == []
    await bucket.close()


async def test_an_upload_that_breaks_off_leaves_nothing_to_see(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path)

    async def breaks() -> AsyncIterator[bytes]:
        yield BIG
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await bucket.put("a", breaks(), About())
    with pytest.raises(NotFound):
        await bucket.head("a")
    await bucket.close()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "swap"])
async def test_one_damaged_copy_is_not_noticed_and_two_are_never_returned(tmp_path: Path, damage: str) -> None:
    bucket = await bucket_at(tmp_path)
    put = await bucket.put("a", stream(BIG), About())
    small = await bucket.put("s", stream(b"small"), About())
    for provider in ("p0", "p1"):
        _harm(tmp_path / provider, damage)
        if provider == "p0":
            assert await content(bucket, put) == BIG
            assert await content(bucket, small) == b"small"
    for version in (put, small):
        with pytest.raises(Corrupt):
            await content(bucket, version)
    await bucket.close()


def _harm(provider: Path, damage: str) -> None:
    files = [f for f in provider.glob("photos/*/**/*") if f.is_file()]
    contents = [f.read_bytes() for f in files]
    for n, file in enumerate(files):
        data = contents[n]
        if damage == "flip":
            file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        elif damage == "cut":
            file.write_bytes(data[: len(data) // 2])
        elif damage == "swap":
            file.write_bytes(contents[(n + 1) % len(files)])
        else:
            file.unlink()


async def test_a_provider_that_is_away_is_replaced_by_a_third_one(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path, providers=3)
    (tmp_path / "p1").rename(tmp_path / "elsewhere")
    for n in range(8):
        await bucket.put(f"a{n}", stream(BIG[:300_000]), About())
        await bucket.put(f"s{n}", stream(b"s"), About())
    assert {f.relative_to(tmp_path / "p0") for f in (tmp_path / "p0").rglob("*-*")} == {
        f.relative_to(tmp_path / "p2") for f in (tmp_path / "p2").rglob("*-*")
    }
    await bucket.close()


async def test_with_too_few_providers_nothing_is_acknowledged(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path)
    (tmp_path / "p1").rename(tmp_path / "elsewhere")
    for data in (b"small", BIG):
        with pytest.raises(Unavailable):
            await bucket.put("a", stream(data), About())
    (tmp_path / "elsewhere").rename(tmp_path / "p1")
    with pytest.raises(NotFound):
        await bucket.head("a")
    await bucket.put("a", stream(b"now"), About(), Expect(absent=True))
    await bucket.close()


async def test_quotas_hold_before_anything_is_written(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path, quota=1_000_000)
    kept = await asyncio.gather(*(_fits(bucket, f"a{n}", 300_000) for n in range(6)))
    assert sum(kept) == 3
    assert await _fits(bucket, "rest", 100_000)
    assert not await _fits(bucket, "more", 1)
    await bucket.close()
    limited = await _limited(tmp_path / "other")
    assert await _fits(limited, "a", 300_000)
    assert not await _fits(limited, "b", 700_000)
    await limited.close()


async def _limited(folder: Path) -> Bucket:
    bucket = await bucket_at(folder)
    bucket.fleet.members["p0"].quota = 500_000
    return bucket


async def _fits(bucket: Bucket, key: str, size: int) -> bool:
    try:
        await bucket.put(key, stream(os.urandom(size)), About())
    except QuotaExceeded:
        return False
    return True


async def test_the_wrong_key_and_a_lost_store_are_said_plainly(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path)
    put = await bucket.put("a", stream(BIG), About())
    await bucket.close()
    wrong = await bucket_at(tmp_path, key=b"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
    with pytest.raises(KeyProblem, match="key"):
        await content(wrong, put)
    await wrong.close()
    with pytest.raises(KeyProblem, match="openssl rand"):
        await bucket_at(tmp_path, key=b"short")
    (tmp_path / "state" / "buckets" / "photos" / "meta.db").unlink()
    for extra in ("-wal", "-shm"):
        (tmp_path / "state" / "buckets" / "photos" / f"meta.db{extra}").unlink(missing_ok=True)
    with pytest.raises(OpenError, match="automator67 bucket rebuild photos"):
        await bucket_at(tmp_path)


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513, "\udc80"])
async def test_bad_names_are_refused(tmp_path: Path, key: str) -> None:
    bucket = await bucket_at(tmp_path)
    with pytest.raises(BadRequest):
        await bucket.put(key, stream(b""), About())
    await bucket.close()
