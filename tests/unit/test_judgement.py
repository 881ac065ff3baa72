"""When a silent node is suspect, when it is unavailable, and when the engine doubts itself instead."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.desired import Settings
from automator67.engine.nodes.judgement import Signs, judge_nodes

S = Settings()
LONG = 10_000.0


def state(silent: float | None, *, broken: float | None = None, up: float = LONG, others: int = 6) -> str:
    signs = {"n": Signs(silent, broken)} | {f"o{i}": Signs(1.0) for i in range(others)}
    return judge_nodes(signs, S, up)["n"].state


def test_silence_grows_from_healthy_to_unavailable() -> None:
    assert [state(t) for t in (0, 44, 46, 104, 106)] == ["healthy", "healthy", "suspect", "suspect", "unavailable"]
    assert state(None) == "never"


def test_a_broken_connection_makes_suspect_sooner() -> None:
    assert state(31, broken=11) == "suspect"
    assert state(31, broken=9) == "healthy"
    assert state(5, broken=11) == "healthy", "heartbeats still arrive"


def test_a_young_engine_gives_everybody_time() -> None:
    assert state(500, up=10) == "suspect"
    assert state(500, up=106) == "unavailable"


def test_many_silent_at_once_accuse_the_engine() -> None:
    signs = {f"n{i}": Signs(500.0 if i < 3 else 1.0) for i in range(6)}
    verdicts = judge_nodes(signs, S, LONG)
    assert {v.state for n, v in verdicts.items() if n in ("n0", "n1", "n2")} == {"suspect"}
    assert "engine's own network" in verdicts["n0"].reason
    alone = judge_nodes({"a": Signs(500.0), "b": Signs(1.0)}, S, LONG)
    assert alone["a"].state == "unavailable", "one of two is no mass"


def test_revoked_is_a_decision() -> None:
    assert judge_nodes({"n": Signs(1.0, revoked=True)}, S, LONG)["n"].state == "revoked"


ages = st.one_of(st.none(), st.floats(0, 1000))


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), ages, max_size=12), st.floats(0, 1000))
def test_verdicts_are_calm(silences: dict[str, float | None], up: float) -> None:
    verdicts = judge_nodes({n: Signs(s) for n, s in silences.items()}, S, up)
    gone = [n for n, v in verdicts.items() if v.state == "unavailable"]
    alive = [n for n, s in silences.items() if s is not None]
    assert len(gone) < 3 or len(gone) <= len(alive) / 3
    for name, verdict in verdicts.items():
        silent = silences[name]
        if verdict.state == "unavailable":
            assert silent is not None
            assert silent > S.unavailable_after
            assert up >= min(120.0, S.unavailable_after)
        if silent is not None and silent <= S.suspect_after:
            assert verdict.state == "healthy"
