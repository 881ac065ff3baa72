"""When a silent node is suspect, failing, unavailable; how it is trusted again; when the engine doubts itself."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.nodes.entry import NEVER, RARE
from automator67.engine.nodes.judgement import BAD, Signs, Standing, Weather, judge_nodes
from automator67.engine.nodes.punctuality import Punctuality
from automator67.engine.settings import Settings

S = Settings()
LONG = 10_000.0
WELL = Standing("healthy")


class Story:
    """One cloud over virtual time: nodes are heard or not, and judged every second."""

    def __init__(self, *nodes: str, settings: Settings = S, calm_since: float = -LONG) -> None:
        self.now, self.settings, self.weather = 0.0, settings, Weather(calm_since)
        self.heard: dict[str, float | None] = dict.fromkeys(nodes, 0.0)
        self.broken: dict[str, float] = {}
        self.standings: Mapping[str, Standing] = dict.fromkeys(nodes, WELL)
        self.seen: dict[str, list[str]] = {n: ["healthy"] for n in nodes}

    def run(self, seconds: float, *, hear: tuple[str, ...] = (), every: float = 30.0) -> Story:
        for step in range(round(seconds)):
            self.now += 1
            for name in hear:
                if step % every == 0:
                    self.heard[name] = self.now
            signs = {
                n: Signs(None if at is None else self.now - at, self.now - self.broken[n] if n in self.broken else None)
                for n, at in self.heard.items()
            }
            self.standings, self.weather = judge_nodes(signs, self.standings, self.weather, self.settings, self.now)
            for name, standing in self.standings.items():
                if self.seen[name][-1] != standing.state:
                    self.seen[name].append(standing.state)
        return self

    def state(self, name: str = "n") -> str:
        return self.standings[name].state


def state(silent: float | None, *, broken: float | None = None, up: float = LONG, others: int = 6) -> str:
    signs = {"n": Signs(silent, broken)} | {f"o{i}": Signs(1.0) for i in range(others)}
    return judge_nodes(signs, dict.fromkeys(signs, WELL), Weather(-up), S, 0.0)[0]["n"].state


def test_silence_grows_from_healthy_to_unavailable() -> None:
    ages = (0, 44, 46, 74, 76, 104, 106)
    assert [state(t) for t in ages] == ["healthy"] * 2 + ["suspect"] * 2 + ["failing"] * 2 + ["unavailable"]
    assert state(None) == "never"


def test_a_broken_connection_makes_suspect_at_once() -> None:
    assert state(2, broken=0.6) == "suspect"
    assert state(2, broken=0.4) == "healthy", "an agent makes it anew by itself"
    assert state(2, broken=11) == "healthy", "heartbeats still arrive"
    standing = judge_nodes({"n": Signs(2, 0.2)}, {"n": WELL}, Weather(-LONG), S, 100.0)[0]["n"]
    assert standing.changes_at == pytest.approx(100.3), "it is looked at when the half second is over"


def test_the_way_back_leads_over_recovering() -> None:
    story = Story("n", "a", "b", "c", "d").run(120, hear=("a", "b", "c", "d"))
    assert story.state() == "unavailable"
    story.run(29, hear=("n", "a", "b", "c", "d"))
    assert story.state() == "recovering"
    story.run(31, hear=("n", "a", "b", "c", "d"))
    assert story.seen["n"] == ["healthy", "suspect", "failing", "unavailable", "recovering", "healthy"]


def test_only_heartbeats_make_it_better() -> None:
    story = Story("n", "a", "b", "c", "d").run(120, hear=("a", "b", "c", "d"))
    patient = Settings(suspect_after=600, failing_after=700, unavailable_after=900)
    story.settings, story.weather = patient, Weather(story.now)
    story.run(60, hear=("a", "b", "c", "d"))
    assert story.state() == "unavailable", "its copies were placed elsewhere already"


def test_who_flaps_is_trusted_later_each_time() -> None:
    others = ("a", "b", "c", "d")
    story = Story("n", *others)
    waits = []
    for _ in range(5):
        story.run(50, hear=others)
        began = story.now
        while story.state() != "healthy":
            story.run(10, hear=("n", *others), every=10)
            assert story.now - began < 3600
        waits.append(story.now - began)
    assert waits == sorted(waits)
    assert waits[0] <= 10, "one heartbeat ends a suspicion"
    assert waits[-1] > 120
    story.run(3700, hear=("n", *others))
    story.run(50, hear=others).run(10, hear=("n", *others))
    assert story.state() == "healthy", "an hour later it is forgotten"


def test_a_young_engine_gives_everybody_time() -> None:
    assert state(500, up=10) == "suspect"
    assert state(500, up=106) == "unavailable"


def test_many_silent_at_once_accuse_the_engine() -> None:
    story = Story("n0", "n1", "n2", "o0", "o1", "o2").run(500, hear=("o0", "o1", "o2"))
    assert {story.state(n) for n in ("n0", "n1", "n2")} == {"suspect"}
    assert "engine's own network" in story.standings["n0"].reason
    alone = judge_nodes({"a": Signs(500.0), "b": Signs(1.0)}, {}, Weather(-LONG), S, 0.0)[0]
    assert alone["a"].state == "unavailable", "one of two is no crowd"


def test_who_is_silent_still_after_a_crowd_gets_time_anew() -> None:
    names = ("a", "b", "c", "d", "e", "f")
    story = Story(*names).run(600, hear=("a", "b", "c"))
    back = ("a", "b", "c", "d", "e")
    story.run(100, hear=back)
    assert story.state("f") == "suspect"
    story.run(10, hear=back)
    assert story.state("f") == "unavailable"


def test_nodes_that_die_one_after_the_other_are_no_crowd() -> None:
    names = ("a", "b", "c", "d", "e", "f")
    story = Story(*names)
    for n in range(1, 4):
        story.run(300, hear=names[n:])
    assert [story.state(n) for n in names] == ["unavailable"] * 3 + ["healthy"] * 3


def test_revoked_is_a_decision() -> None:
    assert judge_nodes({"n": Signs(1.0, revoked=True)}, {}, Weather(-LONG), S, 0.0)[0]["n"].state == "revoked"


def test_a_crowded_engine_that_asks_less_often_waits_longer() -> None:
    slow = {"n": Signs(110.0, every=90.0), "o": Signs(1.0)}
    assert judge_nodes(slow, {}, Weather(-LONG), S, 0.0)[0]["n"].state == "healthy"


def test_patience_follows_the_history() -> None:
    fresh, punctual, lossy = Punctuality(), Punctuality(), Punctuality()
    for n in range(400):
        punctual = punctual.after(30.0, 30.0)
        lossy = lossy.after(60.0 if n % 20 == 0 else 32.0, 30.0)
    assert punctual.patience(30, RARE) < S.suspect_after
    assert punctual.patience(30, NEVER) < S.unavailable_after
    assert fresh.patience(30, NEVER) < 1.5 * S.unavailable_after
    assert 60 < lossy.patience(30, RARE) < 90
    assert 150 < lossy.patience(30, NEVER) < 2 * S.unavailable_after
    early = Punctuality().after(0.2, 30.0)
    assert early.lateness == 0.0, "a heartbeat before its time says nothing"


@given(st.lists(st.floats(0.01, 5000), max_size=60), st.floats(0.1, 120))
def test_patience_is_finite_and_grows_with_rarity(gaps: list[float], every: float) -> None:
    history = Punctuality()
    for gap in gaps:
        history = history.after(gap, every)
    assert every <= history.patience(every, RARE) <= history.patience(every, NEVER) < 1e6


ages = st.one_of(st.none(), st.floats(0, 1000))
states = st.sampled_from(("never", "healthy", "suspect", "failing", "unavailable", "recovering"))
nodes = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.tuples(ages, states), max_size=12)


@given(nodes, st.floats(0, 1000), st.booleans())
def test_verdicts_are_calm(world: dict[str, tuple[float | None, str]], up: float, mass: bool) -> None:
    signs = {n: Signs(s) for n, (s, _) in world.items()}
    before = {n: Standing(b, since=-5000.0) for n, (_, b) in world.items()}  # type: ignore[arg-type]
    found, weather = judge_nodes(signs, before, Weather(-up, mass), S, 0.0)
    for name, standing in found.items():
        silent, old = world[name]
        if standing.state == "unavailable":
            assert silent is not None
            assert silent > S.unavailable_after
            assert up >= min(120.0, S.unavailable_after)
            assert not weather.mass
        if silent is not None and silent <= S.suspect_after:
            assert standing.state == ("recovering" if old in ("failing", "unavailable") else "healthy")
        if standing.state in BAD and old == "healthy":
            assert standing.falls == (0.0,)


@given(st.lists(st.tuples(st.sampled_from("nab"), st.integers(0, 200)), max_size=30), st.integers(0, 2**32))
def test_any_history_ends_well_when_all_are_heard(steps: list[tuple[str, int]], seed: int) -> None:
    chance = random.Random(seed)
    story = Story("n", "a", "b", "c")
    for silent, seconds in steps[:8]:
        story.run(seconds, hear=tuple(n for n in ("n", "a", "b", "c") if n != silent), every=chance.choice([20, 30]))
    story.run(1900, hear=("n", "a", "b", "c"))
    assert {story.state(n) for n in ("n", "a", "b", "c")} == {"healthy"}
