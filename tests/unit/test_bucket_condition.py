"""How a bucket stands is read from its metadata alone, and said everywhere in the same words."""

from __future__ import annotations

from pathlib import Path

from automator67.engine.bucket_facts import BucketFacts
from automator67.engine.bucket_watch import EVERY_SECONDS, BucketWatch
from automator67.engine.buckets.condition import condition
from automator67.engine.buckets.records import About
from automator67.engine.buckets.repair import repair, verify
from automator67.engine.buckets.rules import Rules, rules_of
from automator67.engine.desired import Desired, Origin, Other
from automator67.engine.metrics import Seen, samples
from automator67.engine.observed import Observed
from automator67.engine.troubles import _buckets
from tests.support.buckets import blobs, bucket_at, stream


def rules(*providers: str, **more: object) -> Rules:
    return rules_of("photos", {"providers": list(providers), **more})


def now(folder: Path, *providers: str, **more: object) -> BucketFacts:
    found = condition(folder / "state", rules(*providers, **more))
    assert found is not None
    return found


async def test_copies_that_are_missing_and_pieces_that_are_lost_are_counted(tmp_path: Path) -> None:
    assert condition(tmp_path / "state", rules("p0", "p1")) is None
    bucket = await bucket_at(tmp_path, 3)
    await bucket.put("a", stream(b"x" * 250_000), About())
    await bucket.put("b", stream(b"small"), About())
    good = now(tmp_path, "p0", "p1", "p2")
    assert (good.state, good.files, good.bytes, good.short, good.lost) == ("healthy", 2, 250_005, 0, 0)
    assert sum(size for _, size in good.held) >= 500_010
    victim = next(f for f in blobs(tmp_path) if f.name in {g.name for g in blobs(tmp_path) if g != f})
    victim.unlink()
    await verify(bucket)
    short = now(tmp_path, "p0", "p1", "p2")
    assert (short.state, short.short, short.lost) == ("degraded", 1, 0)
    await repair(bucket)
    assert now(tmp_path, "p0", "p1", "p2").state == "healthy"
    for copy in [f for f in blobs(tmp_path) if f.name == victim.name]:
        copy.unlink()
    await verify(bucket)
    lost = now(tmp_path, "p0", "p1", "p2")
    assert (lost.state, lost.lost) == ("lost", 1)
    # What is where nobody declares it any more does not count.
    assert now(tmp_path, "p0").short > lost.short
    assert now(tmp_path, "p0", "p1", "p2", quota=260_000).quota == 260_000
    await bucket.close()


async def test_the_watch_looks_once_a_minute_and_tells_of_changes_alone(tmp_path: Path) -> None:
    clock = [1000.0]
    watch = BucketWatch(tmp_path / "state", lambda: clock[0])
    declared = Other("bucket", "photos", Origin("buckets/photos.yaml", "b"), {"providers": ["p0", "p1"]})
    desired = Desired("c1", others=(declared,))
    assert not watch.tick(None)
    assert not watch.tick(desired)
    assert watch.facts == ()
    bucket = await bucket_at(tmp_path)
    await bucket.put("b", stream(b"small"), About())
    assert not watch.tick(desired), "it is not time yet"
    clock[0] += EVERY_SECONDS
    assert watch.tick(desired)
    await bucket.put("c", stream(b"more"), About())
    clock[0] += EVERY_SECONDS
    assert not watch.tick(desired)
    assert watch.facts[0].files == 2
    assert watch.tick(Desired("c2")), "a bucket that is declared no more"
    await bucket.close()
    # Metadata that cannot be read are no reason to forget what was known.
    assert watch.tick(desired)
    (tmp_path / "state" / "buckets" / "photos" / "meta.db").write_bytes(b"no database" * 100)
    clock[0] += EVERY_SECONDS
    assert not watch.tick(desired)
    assert watch.facts[0].files == 2


def test_alerts_and_metrics_say_the_same() -> None:
    facts = (
        BucketFacts("a", 1, 2), BucketFacts("b", short=1), BucketFacts("c", short=2, lost=1),
        BucketFacts("d", bytes=95, held=(("p0", 95),), quota=100),
    )  # fmt: skip
    found = {t.resource: (t.state, t.reason) for t in _buckets(Observed(buckets=facts))}
    assert {name: state for name, (state, _) in found.items()} == {
        "bucket/b": "degraded", "bucket/c": "failed", "bucket/d": "quota",
    }  # fmt: skip
    assert "automator67 bucket repair b" in found["bucket/b"][1]
    values = {(name, labels): value for name, labels, value in samples(Seen("1", buckets=facts))}
    assert values["bucket_pieces_lost", ("c",)] == 1
    assert values["bucket_quota_bytes", ("d",)] == 100
    assert values["bucket_provider_bytes", ("d", "p0")] == 95
    assert ("bucket_quota_bytes", ("a",)) not in values
