"""The outbox over real databases: change only, coalesced, at least once, patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from automator67.engine.backoff import delay
from automator67.engine.forges import outbox
from automator67.engine.forges.outbox import NEVER, deliver, due, failed, next_due, posted, retry_now, want
from automator67.engine.forges.reporter import PostFailed
from automator67.engine.forges.statuses import LAST_POST, LAST_WORDS, Due, Status
from automator67.engine.store.database import Store, open_store
from automator67.engine.store.tables import posts
from tests.support.stores import postgres_server, store_url  # noqa: F401

A, B = "a" * 40, "b" * 40
APPLY = "automator67/apply"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:  # noqa: F811
    opened = open_store(store_url)
    yield opened
    opened.close()


def _want(store: Store, commit: str, *statuses: Status, now: float = 1.0) -> None:
    with store.begin() as tx:
        want(tx, commit, statuses, now)


def _due(store: Store, now: float = 1e6) -> list[Due]:
    with store.read() as tx:
        return due(tx, now)


def _posted(store: Store, item: Due, now: float = 2.0) -> None:
    with store.begin() as tx:
        posted(tx, item, now)


def test_a_change_is_due_once(store: Store) -> None:
    _want(store, A, Status(APPLY, "pending", "applying"), Status("automator67/plan", "success", "1 app"))
    both = _due(store)
    assert both == [
        Due(A, Status(APPLY, "pending", "applying")),
        Due(A, Status("automator67/plan", "success", "1 app")),
    ]
    for item in both:
        _posted(store, item)
    assert _due(store) == []
    _want(store, A, Status(APPLY, "pending", "applying"))
    assert _due(store) == []
    _want(store, A, Status(APPLY, "success", "applied"))
    assert _due(store) == [Due(A, Status(APPLY, "success", "applied"))]


def test_wishes_that_pile_up_become_one(store: Store) -> None:
    for i in range(10):
        _want(store, A, Status(APPLY, "pending", f"step {i}"))
    assert _due(store) == [Due(A, Status(APPLY, "pending", "step 9"))]
    _posted(store, _due(store)[0])
    _want(store, A, Status(APPLY, "failure", "broke"))
    _want(store, A, Status(APPLY, "pending", "step 9"))
    assert _due(store) == []
    with store.read() as tx:
        assert next_due(tx) is None


def test_a_wish_while_the_last_one_is_under_way(store: Store) -> None:
    _want(store, A, Status(APPLY, "pending"))
    under_way = _due(store)[0]
    _want(store, A, Status(APPLY, "success"))
    _posted(store, under_way)
    assert _due(store) == [Due(A, Status(APPLY, "success"))]
    _posted(store, _due(store)[0])
    # Back to what is shown, while something else is under way: it must be said again.
    _want(store, A, Status(APPLY, "failure"))
    under_way = _due(store)[0]
    _want(store, A, Status(APPLY, "success"))
    assert _due(store) == []
    _posted(store, under_way)
    assert _due(store) == [Due(A, Status(APPLY, "success"))]


def test_oldest_wish_first_and_bounded(store: Store) -> None:
    _want(store, B, Status("z", "success"), now=1.0)
    _want(store, A, Status("a", "success"), now=2.0)
    assert [d.commit for d in _due(store)] == [B, A]
    with store.read() as tx:
        assert [d.commit for d in due(tx, 1e6, limit=1)] == [B]


def test_texts_are_made_to_fit(store: Store) -> None:
    _want(store, A, Status("x" * 300, "failure", "é" * 200 + "\nline"))
    status = _due(store)[0].status
    assert (len(status.context), len(status.description)) == (255, 140)
    _posted(store, _due(store)[0])
    _want(store, A, Status("x" * 300, "failure", "é" * 200 + "\nline"))
    assert _due(store) == []


def test_a_failure_is_tried_again_later(store: Store) -> None:
    _want(store, A, Status(APPLY, "success"))
    item = _due(store)[0]
    with store.begin() as tx:
        failed(tx, item, PostFailed("down", retry_after=60), 100.0, Random(1))
    assert _due(store, 159.0) == []
    assert _due(store, 166.0) == [item]
    with store.read() as tx:
        assert 160.0 <= (next_due(tx) or 0) <= 165.0
    _want(store, A, Status(APPLY, "failure"), now=101.0)
    assert _due(store, 159.0) == []
    assert _due(store, 166.0) == [Due(A, Status(APPLY, "failure"))]
    with store.begin() as tx:
        retry_now(tx, 102.0)
    assert len(_due(store, 103.0)) == 1
    with store.read() as tx:
        row = tx.execute(select(posts)).one()
        assert (row.attempts, row.error) == (1, "down")
    _posted(store, _due(store)[0])
    with store.read() as tx:
        row = tx.execute(select(posts)).one()
        assert (row.attempts, row.error, row.next_at) == (0, "", NEVER)
        assert row._mapping["count"] == 1


def test_a_failure_of_what_is_no_longer_wanted_changes_nothing(store: Store) -> None:
    _want(store, A, Status(APPLY, "success"))
    _posted(store, _due(store)[0])
    _want(store, A, Status(APPLY, "failure"))
    item = _due(store)[0]
    _want(store, A, Status(APPLY, "success"))
    with store.begin() as tx:
        failed(tx, item, PostFailed("down"), 100.0, Random(1))
        assert next_due(tx) is None
        assert tx.execute(select(posts)).one().error == ""


def test_the_last_posts_of_a_busy_commit(store: Store) -> None:
    _want(store, A, Status(APPLY, "pending"))
    _posted(store, _due(store)[0])
    with store.begin() as tx:
        tx.execute(update(posts).values(count=LAST_POST))
    _want(store, A, Status(APPLY, "success", "fine"))
    assert _due(store) == [Due(A, Status(APPLY, "success", LAST_WORDS))]
    _posted(store, _due(store)[0])
    for state in ("failure", "success", "pending"):
        _want(store, A, Status(APPLY, state, "again"))
        assert _due(store) == []


class _Forge:
    """Remembers what it got; refuses what ``refuses`` says."""

    def __init__(self) -> None:
        self.got: list[Due] = []
        self.refuses: dict[str, PostFailed] = {}

    def post(self, batch: Sequence[Due]) -> Iterator[tuple[Due, PostFailed | None]]:
        for item in batch:
            refusal = self.refuses.get(item.status.context)
            if refusal is None:
                self.got.append(item)
            yield item, refusal

    def close(self) -> None:
        pass


def test_delivery_records_each_answer_at_once(store: Store) -> None:
    forge = _Forge()
    _want(store, A, Status("a", "success"), Status("b", "success"), Status("c", "success"))
    forge.refuses["b"] = PostFailed("no")
    assert deliver(store, forge, lambda: 10.0, Random(1)) == ["no"]
    assert [d.status.context for d in forge.got] == ["a", "c"]
    forge.refuses.clear()
    assert deliver(store, forge, lambda: 1e5, Random(1)) == []
    assert [d.status.context for d in forge.got] == ["a", "c", "b"]
    assert deliver(store, forge, lambda: 1e6, Random(1)) == []
    assert len(forge.got) == 3


def test_a_crash_between_post_and_record_posts_once_more_and_loses_nothing(store: Store) -> None:
    class Crash(BaseException):
        pass

    class Dying(_Forge):
        def post(self, batch: Sequence[Due]) -> Iterator[tuple[Due, PostFailed | None]]:
            for n, item in enumerate(batch):
                self.got.append(item)
                if n == 1:
                    raise Crash
                yield item, None

    dying, forge = Dying(), _Forge()
    _want(store, A, *(Status(c, "success") for c in "abcd"))
    with pytest.raises(Crash):
        deliver(store, dying, lambda: 10.0, Random(1))
    deliver(store, forge, lambda: 10.0, Random(1))
    assert [d.status.context for d in dying.got] == ["a", "b"]
    assert [d.status.context for d in forge.got] == ["b", "c", "d"]


@given(st.integers(1, 60), st.none() | st.floats(0, 4000), st.booleans(), st.integers())
def test_waiting_is_bounded_and_keeps_what_the_forge_asks(
    attempts: int, retry_after: float | None, permanent: bool, seed: int
) -> None:
    wait = delay(attempts, retry_after, permanent, Random(seed))
    assert 0.5 <= wait <= 4005 or (retry_after is not None and wait >= retry_after)
    if permanent:
        assert 3000 < wait < 4000
    elif retry_after is not None:
        assert retry_after <= wait <= retry_after + 5
    else:
        assert wait <= min(900.0, max(0.5, 2.0 * 2 ** (attempts - 1)))


def test_waiting_grows_and_is_spread() -> None:
    first = [delay(1, None, False, Random(i)) for i in range(200)]
    tenth = [delay(10, None, False, Random(i)) for i in range(200)]
    assert max(first) <= 2.0
    assert sum(tenth) / 200 > 300
    assert len({round(t) for t in tenth}) > 50


def test_settled_rows_are_out_of_the_way(store: Store) -> None:
    for i in range(3):
        _want(store, f"{i:040d}", Status(APPLY, "success"))
    for item in _due(store):
        _posted(store, item)
    with store.read() as tx:
        assert {row.next_at for row in tx.execute(select(posts.c.next_at))} == {NEVER}
        assert outbox.next_due(tx) is None
