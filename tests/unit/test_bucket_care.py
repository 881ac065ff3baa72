"""Buckets stay whole: what is bad is found and mended, what nobody needs goes, lost metadata are made anew."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.buckets.bucket import Bucket
from automator67.engine.buckets.collect import ABANDONED_SECONDS, GRACE_SECONDS, collect
from automator67.engine.buckets.errors import Corrupt, NotFound, Refused, Unavailable
from automator67.engine.buckets.layout import todo
from automator67.engine.buckets.providers.directory import DRAFTS
from automator67.engine.buckets.rebuild import Rebuilt, rebuild
from automator67.engine.buckets.records import About, Drop
from automator67.engine.buckets.repair import backlog, repair, verify
from automator67.engine.buckets.rules import rules_of
from tests.support.buckets import KEY, blobs, bucket_at, content, stream

BIG = os.urandom(450_000)
DAY = 86400.0


async def filled(folder: Path, providers: int = 2, **rules: object) -> Bucket:
    bucket = await bucket_at(folder, providers, **rules)
    await bucket.put("big", stream(BIG), About("image/x", {}, {"a": "1"}))
    await bucket.put("small", stream(b"small"), About())
    return bucket


async def whole(bucket: Bucket) -> bool:
    return (await content(bucket, await bucket.head("big")), await content(bucket, await bucket.head("small"))) == (
        BIG, b"small",
    )  # fmt: skip


def at(folder: Path, provider: str) -> list[Path]:
    return [f for f in blobs(folder) if provider in f.relative_to(folder).parts]


async def test_bad_and_missing_copies_are_found_and_written_again(tmp_path: Path) -> None:
    bucket = await filled(tmp_path)
    good = await verify(bucket)
    assert (good.bad, good.away, good.lost, good.copies) == (0, 0, [], 2 * good.blobs)
    rotten, short, gone, *_ = at(tmp_path, "p1")
    rotten.write_bytes(b"x" * rotten.stat().st_size)
    short.write_bytes(short.read_bytes()[:-1])
    gone.unlink()
    found = await verify(bucket)
    assert (found.bad, found.lost) == (3, [])
    assert backlog(bucket) == (3, 0)
    planned = await repair(bucket, dry_run=True)
    assert (planned.written, backlog(bucket)) == (3, (3, 0))
    assert (await repair(bucket)).written == 3
    assert (await verify(bucket)).bad == 0
    assert {f.name: f.read_bytes() for f in at(tmp_path, "p0")} == {f.name: f.read_bytes() for f in at(tmp_path, "p1")}
    await bucket.close()


async def test_what_is_lost_everywhere_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    bucket = await filled(tmp_path)
    chunk = next(f for f in at(tmp_path, "p0") if "chunks" in f.parts)
    for file in blobs(tmp_path):
        if file.name == chunk.name:
            file.write_bytes(b"rotten")
    found = await verify(bucket)
    assert len(found.lost) == 1
    assert found.lost[0].endswith(chunk.name)
    assert backlog(bucket) == (1, 1)
    assert (await repair(bucket)).lost == found.lost
    assert await content(bucket, await bucket.head("small")) == b"small"
    await bucket.close()


async def test_a_provider_that_leaves_is_emptied_and_one_that_joins_is_filled(tmp_path: Path) -> None:
    bucket = await filled(tmp_path, 3)
    bucket.fleet.members["p0"].leaving = True
    moved = await repair(bucket)
    assert moved.written == moved.removed > 0
    assert at(tmp_path, "p0") == []
    assert await whole(bucket)
    bucket.fleet.members["p0"].leaving = False
    assert (await repair(bucket)).written == 0
    assert (await repair(bucket, rebalance=True)).written > 0
    assert at(tmp_path, "p0")
    assert (await verify(bucket)).bad == 0
    await bucket.close()
    more = await bucket_at(tmp_path, 3, replicas=3)
    assert (await repair(more)).written > 0
    assert len(at(tmp_path, "p0")) == len(at(tmp_path, "p1")) == len(at(tmp_path, "p2"))
    await more.close()


async def test_nothing_is_removed_while_there_would_be_too_few(tmp_path: Path) -> None:
    bucket = await filled(tmp_path)
    bucket.fleet.members["p0"].leaving = True
    before = len(blobs(tmp_path))
    report = await repair(bucket)
    assert report.problems
    assert (report.removed, len(blobs(tmp_path))) == (0, before)
    await bucket.close()


async def test_a_share_is_the_one_that_was_not_looked_at_for_longest(tmp_path: Path) -> None:
    bucket = await filled(tmp_path)
    count = (await verify(bucket)).blobs
    seen = [(await verify(bucket, 1 / count)).blobs for _ in range(count)]
    assert seen == [1] * count
    times = bucket.ledger.reader.execute("SELECT count(DISTINCT checked) FROM copies").fetchone()[0]
    assert times == count
    await bucket.close()


@given(
    good=st.sets(st.sampled_from("abcdef")), bad=st.sets(st.sampled_from("abcdef")),
    order=st.lists(st.sampled_from("abcdef"), unique=True), replicas=st.integers(1, 4), rebalance=st.booleans(),
)  # fmt: skip
def test_what_is_done_about_copies_never_leaves_fewer_than_there_can_be(
    good: set[str], bad: set[str], order: list[str], replicas: int, rebalance: bool
) -> None:
    do = todo(good, bad - good, order, replicas, rebalance=rebalance)
    after = (good | set(do.write)) - set(do.remove)
    assert not set(do.write) & good
    assert set(do.write) <= set(order)
    assert len(after) >= min(replicas, len(good | set(order)))
    if len(order) >= replicas:
        assert len(after) == replicas
        assert after <= set(order)
        assert not todo(after, set(), order, replicas, rebalance=rebalance).write
    if len(good & set(order)) >= replicas and not rebalance:
        assert not do.write


async def test_what_was_deleted_goes_after_its_time_and_a_day(tmp_path: Path) -> None:
    bucket = await filled(tmp_path, keep_deleted="30d")
    chunks = [f for f in blobs(tmp_path) if "chunks" in f.parts]
    await bucket.delete("big")
    now = (await bucket.newest("big")).created  # type: ignore[union-attr]
    early = await collect(bucket, now + 29 * DAY)
    assert (early.purged, early.condemned, early.removed) == (0, 0, 0)
    late = await collect(bucket, now + 31 * DAY)
    assert (late.purged, late.condemned, late.removed) == (2, len(chunks) // 2, 0)
    assert [f for f in blobs(tmp_path) if "chunks" in f.parts] == chunks
    assert (await collect(bucket, now + 31 * DAY + GRACE_SECONDS - 1)).removed == 0
    last = await collect(bucket, now + 31 * DAY + GRACE_SECONDS + 1)
    assert (last.removed, last.bytes > 400_000) == (len(chunks) // 2, True)
    assert not [f for f in blobs(tmp_path) if "chunks" in f.parts]
    assert await content(bucket, await bucket.head("small")) == b"small"
    with pytest.raises(NotFound):
        await bucket.restore("big")
    await bucket.close()


async def test_a_copy_keeps_what_its_source_loses(tmp_path: Path) -> None:
    bucket = await filled(tmp_path)
    await bucket.copy(await bucket.head("big"), "copy", About())
    await bucket.delete("big")
    for days in (40, 42, 44):
        await collect(bucket, (await bucket.head("copy")).created + days * DAY)
    assert await content(bucket, await bucket.head("copy")) == BIG
    await bucket.close()


async def test_an_upload_that_outlasts_the_grace_is_refused_and_not_half_there(tmp_path: Path) -> None:
    bucket = await filled(tmp_path)

    async def slow():  # type: ignore[no-untyped-def]
        yield BIG
        while bucket.ledger.reader.execute("SELECT count(*) FROM copies").fetchone()[0] < 14:
            yield BIG[:100_000]
        now = (await bucket.head("big")).created
        assert (await collect(bucket, now + 2 * DAY)).condemned > 0
        yield BIG

    with pytest.raises(Unavailable):
        await bucket.put("slow", slow(), About())
    assert [v.key for v in (await bucket.list()).versions] == ["big", "small"]
    assert await whole(bucket)
    await bucket.close()


async def test_parts_of_an_open_upload_stay_until_it_is_abandoned(tmp_path: Path) -> None:
    bucket = await filled(tmp_path)
    upload = await bucket.uploads.begin("parts", About())
    part = await bucket.uploads.put_part(upload, 1, stream(BIG))
    assert (await collect(bucket, part.at + 2 * DAY)).condemned == 0
    done = await bucket.uploads.complete(upload, [(1, part.etag)])
    assert await content(bucket, done) == BIG
    again = await bucket.uploads.begin("never", About())
    late = await bucket.uploads.put_part(again, 1, stream(BIG))
    given_up = await collect(bucket, late.at + ABANDONED_SECONDS + 1)
    assert (given_up.aborted, given_up.condemned) == (1, 5)
    await bucket.close()


async def test_files_expire_by_their_age_unless_they_were_written_again(tmp_path: Path) -> None:
    bucket = await filled(tmp_path, expire=[{"prefix": "s", "after": "10d"}])
    at_first = (await bucket.head("small")).created
    assert (await collect(bucket, at_first + 9 * DAY)).expired == 0
    assert (await collect(bucket, at_first + 11 * DAY)).expired == 1
    assert [v.key for v in (await bucket.list()).versions] == ["big"]
    await bucket.close()


async def made_anew(folder: Path, providers: int = 2, *, accept_loss: bool = False, key: bytes = KEY) -> Rebuilt:
    names = [f"p{n}" for n in range(providers)]
    rules = rules_of("photos", {"providers": names, "key": {"secret": "photos-key"}, "chunk": 100_000})
    nodes = {name: {"kind": "local", "bucket": str(folder / name)} for name in names}
    return await rebuild(rules, nodes, lambda _: key, folder / "state", accept_loss=accept_loss)


async def history(bucket: Bucket) -> list[object]:
    return [(v.key, v.id, v.order, v.size, v.etag, v.about, v.latest, v.marker, v.deleted_at, v.contents)
            for v in await bucket.versions(limit=10_000, deleted=True)]  # fmt: skip


async def test_lost_metadata_are_made_anew_with_every_version(tmp_path: Path) -> None:
    bucket = await filled(tmp_path)
    for n in range(20):
        await bucket.put(f"many/{n % 7}", stream(bytes([n])), About(tags={"n": str(n)}))
    upload = await bucket.uploads.begin("parts", About())
    parts = [await bucket.uploads.put_part(upload, n, stream(BIG)) for n in (1, 2)]
    await bucket.uploads.complete(upload, [(p.number, p.etag) for p in parts])
    await bucket.delete("many/3")
    hidden = await bucket.head("many/4")
    await bucket.delete("many/4", hidden.id)
    await bucket.set_tags(await bucket.head("small"), {"t": "2"})
    before = await history(bucket)
    held = bucket.ledger.meta("bytes")
    await bucket.close()
    with pytest.raises(Refused):
        await made_anew(tmp_path)
    shutil.rmtree(tmp_path / "state")
    result = await made_anew(tmp_path)
    assert (result.missing, result.lost) == (0, [])
    again = await bucket_at(tmp_path)
    assert await history(again) == before
    assert again.ledger.meta("bytes") == held
    assert await whole(again)
    assert await content(again, await again.head("parts")) == BIG + BIG
    assert (await verify(again)).bad == 0
    await again.put("after", stream(BIG), About())
    await again.close()
    shutil.rmtree(tmp_path / "state")
    await made_anew(tmp_path)
    third = await bucket_at(tmp_path)
    assert await content(third, await third.head("after")) == BIG
    await third.close()


async def test_one_provider_is_enough_to_make_metadata_anew(tmp_path: Path) -> None:
    await (await filled(tmp_path)).close()
    shutil.rmtree(tmp_path / "state")
    (tmp_path / "p1").rename(tmp_path / "away")
    assert (await made_anew(tmp_path)).missing == 0
    (tmp_path / "away").rename(tmp_path / "p1")
    again = await bucket_at(tmp_path)
    assert await whole(again)
    await again.close()


async def test_too_many_providers_away_or_a_broken_log_are_no_silent_loss(tmp_path: Path) -> None:
    await (await filled(tmp_path, 3)).close()
    shutil.rmtree(tmp_path / "state")
    for name in ("p1", "p2"):
        (tmp_path / name).rename(tmp_path / f"away-{name}")
    with pytest.raises(Unavailable):
        await made_anew(tmp_path, 3)
    assert not (tmp_path / "state" / "buckets" / "photos").exists()
    for name in ("p1", "p2"):
        (tmp_path / f"away-{name}").rename(tmp_path / name)
    batches = sorted({f.name for f in blobs(tmp_path) if "log" in f.parts})
    for file in blobs(tmp_path):
        if file.name == batches[0]:
            file.write_bytes(b"a67log1\0" + b"\0" * 1000)
    with pytest.raises(Corrupt):
        await made_anew(tmp_path, 3)
    with pytest.raises(Corrupt):
        await made_anew(tmp_path, 3, key=b"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
    left = await made_anew(tmp_path, 3, accept_loss=True)
    assert (len(left.lost), left.objects) == (1, 1)


async def test_a_batch_that_was_never_finished_is_nobodys_past(tmp_path: Path) -> None:
    bucket = await filled(tmp_path)
    (tmp_path / "p1").rename(tmp_path / "away")
    with pytest.raises(Unavailable):
        await bucket.put("refused", stream(b"never"), About())
    (tmp_path / "away").rename(tmp_path / "p1")
    await bucket.put("small", stream(b"small"), About())
    before = await history(bucket)
    await bucket.close()
    shutil.rmtree(tmp_path / "state")
    await made_anew(tmp_path)
    again = await bucket_at(tmp_path)
    assert await history(again) == before
    now = (await again.head("small")).created + 10 * DAY
    assert (await collect(again, now)).condemned >= 1
    assert (await collect(again, now + 2 * DAY)).removed >= 1
    assert await whole(again)
    assert (await verify(again)).bad == 0
    await again.close()


async def test_what_a_killed_writer_left_in_a_directory_goes_after_a_day(tmp_path: Path) -> None:
    await (await filled(tmp_path)).close()
    old, fresh = (tmp_path / "p0" / DRAFTS / name for name in ("old", "fresh"))
    old.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(old, (0, 0))
    bucket = await filled(tmp_path)
    assert (old.exists(), fresh.exists()) == (False, True)
    await bucket.close()


async def test_what_is_brought_back_while_the_collector_chooses_stays(tmp_path: Path) -> None:
    bucket = await filled(tmp_path, versions=True)
    marker = await bucket.delete("big")
    assert marker is not None
    version = next(v for v in await bucket.versions("big") if not v.marker)
    await bucket.delete("big", marker.id)
    with pytest.raises(Refused):
        await bucket.committer.submit(Drop("big", version.id, "purge", marker.created))
    assert await whole(bucket)
    await bucket.close()


async def test_a_copy_beside_a_purge_is_put_off_and_not_lost(tmp_path: Path) -> None:
    bucket = await filled(tmp_path)
    source = await bucket.head("big")
    await bucket.delete("big")
    purge = bucket.committer.submit(Drop("big", source.id, "purge", source.created))
    _, copied = await asyncio.gather(purge, bucket.copy(source, "copy", About()), return_exceptions=True)
    assert isinstance(copied, (Unavailable, NotFound))
    assert [v.key for v in (await bucket.list()).versions] == ["small"]
    await bucket.close()


@pytest.mark.parametrize("why", ["fewer replicas", "a provider leaves"])
async def test_no_good_copy_is_removed_for_copies_that_are_gone_unnoticed(tmp_path: Path, why: str) -> None:
    bucket = await bucket_at(tmp_path, 3, replicas=3)
    await bucket.put("big", stream(BIG), About())
    for provider in ("p1", "p2"):
        for file in at(tmp_path, provider):
            if "chunks" in file.parts:
                file.unlink()
    bucket.fleet.replicas = 2
    bucket.fleet.members["p0"].leaving = why == "a provider leaves"
    assert (await repair(bucket)).problems
    await repair(bucket)
    assert await content(bucket, await bucket.head("big")) == BIG
    assert (await verify(bucket)).lost == []
    await bucket.close()


async def test_a_provider_that_accepts_and_loses_gets_nothing_moved_to_it(tmp_path: Path) -> None:
    bucket = await bucket_at(tmp_path, 2, replicas=1)
    bucket.fleet.members["p1"].leaving = True
    await bucket.put("big", stream(BIG), About())
    bucket.fleet.members["p0"].leaving, bucket.fleet.members["p1"].leaving = True, False

    async def loses(*_: object) -> None:
        return None

    bucket.fleet.members["p1"].provider.put = loses  # type: ignore[method-assign]
    report = await repair(bucket)
    assert (report.removed, bool(report.problems)) == (0, True)
    assert await content(bucket, await bucket.head("big")) == BIG
    await bucket.close()


async def test_what_no_provider_has_is_told_after_a_rebuild(tmp_path: Path) -> None:
    await (await filled(tmp_path)).close()
    chunks = [f for f in blobs(tmp_path) if "chunks" in f.parts]
    for file in chunks:
        file.unlink()
    shutil.rmtree(tmp_path / "state")
    assert (await made_anew(tmp_path)).missing == len(chunks) // 2
    bucket = await bucket_at(tmp_path)
    assert len((await verify(bucket)).lost) == len(chunks) // 2
    await bucket.close()
