"""Merging logs: nothing lost, nothing doubled, in order where order can be known, and never held for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.log_merge import FOLLOW_HOLD, START_HOLD, LogMerge

Line = tuple[str, int]

sources = st.lists(st.lists(st.floats(0, 100).map(lambda t: round(t, 1)), max_size=20), min_size=1, max_size=5)


def labelled(times: list[list[float]]) -> dict[str, list[tuple[float, Line]]]:
    return {f"s{n}": [(t, (f"s{n}", i)) for i, t in enumerate(ts)] for n, ts in enumerate(times)}


@given(sources, st.randoms(use_true_random=False), st.booleans())
def test_sorted_sources_come_out_sorted_however_they_arrive(times: list[list[float]], chance, follow: bool) -> None:  # type: ignore[no-untyped-def]
    lines = labelled([sorted(ts) for ts in times])
    merge: LogMerge[tuple[float, Line]] = LogMerge(follow)
    for name in lines:
        merge.open(name)
    rest = {name: [(t, (t, line)) for t, line in mine] for name, mine in lines.items()}
    out: list[tuple[float, Line]] = []
    while rest:
        name = chance.choice(sorted(rest))
        size = chance.randint(0, 5)
        batch, rest[name] = rest[name][:size], rest[name][size:]
        merge.put(name, batch, 0.0)
        if not rest[name]:
            merge.end(name)
            del rest[name]
        out += merge.take(0.0)
    assert merge.due() is None
    assert [t for t, _ in out] == sorted(t for ts in times for t in ts)
    for name, mine in lines.items():
        assert [line for _, line in out if line[0] == name] == [line for _, line in mine]


@given(sources, st.lists(st.tuples(st.integers(0, 4), st.floats(0, 2)), max_size=40), st.booleans())
def test_nothing_is_lost_or_held_longer_than_the_hold(
    times: list[list[float]], moves: list[tuple[int, float]], follow: bool
) -> None:
    lines = labelled(times)
    merge: LogMerge[Line] = LogMerge(follow)
    for name in lines:
        merge.open(name)
    rest = {name: list(mine) for name, mine in lines.items()}
    out: list[Line] = []
    arrived: dict[Line, float] = {}
    now = 0.0
    for number, pause in moves:
        due = merge.due()
        if due is not None and due <= now + pause:
            out += merge.take(max(now, due))
        now += pause
        name = f"s{number % len(times)}"
        batch, rest[name] = rest[name][:3], rest[name][3:]
        merge.put(name, batch, now)
        arrived |= {line: now for _, line in batch}
        out += merge.take(now)
        late = [line for line, at in arrived.items() if line not in out and now > at + START_HOLD]
        assert late == []
    out += merge.take(now + START_HOLD)
    assert sorted(out) == sorted(arrived)
    for name in lines:
        mine = [i for n, i in out if n == name]
        assert mine == sorted(mine)


def test_a_quiet_source_holds_the_others_up_only_for_a_moment() -> None:
    merge: LogMerge[str] = LogMerge(True)
    merge.open("a")
    merge.open("b")
    merge.put("a", [(1.0, "first")], 10.0)
    assert merge.take(10.0) == []
    assert merge.due() == 10.0 + START_HOLD, "b has not begun to answer"
    merge.started("b")
    assert merge.due() == 10.0 + FOLLOW_HOLD
    assert merge.take(10.0 + FOLLOW_HOLD) == ["first"]
    merge.put("a", [(3.0, "third")], 11.0)
    merge.put("b", [(2.0, "second")], 11.1)
    assert merge.take(11.1) == ["second"]
    merge.end("b")
    assert merge.take(11.1) == ["third"]


def test_a_source_with_much_to_show_is_told_to_wait() -> None:
    merge: LogMerge[int] = LogMerge(False)
    merge.open("a")
    merge.open("b")
    assert not merge.full("a")
    merge.put("a", [(float(n), n) for n in range(1000)], 0.0)
    assert merge.full("a")
    merge.end("b")
    assert merge.take(0.0) == list(range(1000))
    assert not merge.full("a")
