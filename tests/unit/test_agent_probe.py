"""From probe results to health."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from automator67.agent.model import Probe
from automator67.agent.probe import (
    QUICK,
    QUICK_FOR,
    TOO_MANY,
    WINDOW,
    Standing,
    after_result,
    first_standing,
    next_probe,
)

PROBE = Probe("http", "/", interval=10, healthy_after=1, unhealthy_after=3)


def run(probe: Probe, results: str, every: float = 10.0) -> Standing:
    """Return the standing after results (``.`` passed, ``x`` failed), one every so many seconds."""
    s = first_standing(0.0)
    for i, r in enumerate(results, 1):
        s = after_result(s, probe, r == ".", "refused", i * every)
    return s


def test_healthy_at_the_first_pass_and_since_then() -> None:
    s = run(PROBE, "...")
    assert (s.health, s.healthy_since) == ("healthy", 10.0)
    assert run(PROBE._replace(healthy_after=3), "..").health == "starting"
    assert run(PROBE._replace(healthy_after=3), "...").health == "healthy"
    assert run(PROBE._replace(healthy_after=3), "..x..").health == "starting"


def test_unhealthy_after_enough_failures_in_a_row() -> None:
    assert run(PROBE, ".xx").health == "healthy"
    s = run(PROBE, ".xxx")
    assert (s.health, s.healthy_since, s.detail) == ("unhealthy", 0.0, "refused")
    assert run(PROBE, ".xx.xx").health == "healthy"
    back = run(PROBE, ".xxx.")
    assert (back.health, back.healthy_since, back.detail) == ("healthy", 50.0, "")


def test_one_that_fails_every_other_time_is_unhealthy_until_it_does_so_less() -> None:
    assert run(PROBE, "." + "x." * 4).health == "healthy"
    s = run(PROBE, "." + "x." * 5)
    assert (s.health, s.healthy_since) == ("unhealthy", 0.0)
    assert run(PROBE, "." + "x." * 20).health == "unhealthy", "it does not go up and down"
    assert run(PROBE, "." + "x." * 20 + "....").health == "healthy"


def test_quick_probes_do_not_condemn_early() -> None:
    assert run(PROBE, "x" * 100, QUICK).health == "starting"
    assert run(PROBE, "x" * 130, QUICK).health == "unhealthy"


def test_failures_in_the_start_period_do_not_count() -> None:
    slow = PROBE._replace(start_period=100.0)
    assert run(slow, "x" * 11).health == "starting"
    assert run(slow, "x" * 13).health == "unhealthy"
    # Once it has been healthy, the start is over.
    assert run(slow, ".xxx").health == "unhealthy"


def test_when_to_probe_next() -> None:
    s = first_standing(100.0)
    assert next_probe(s, PROBE, 100.0) == 100.05
    assert next_probe(s, PROBE, 100.5) == 100.75
    assert next_probe(s, PROBE._replace(interval=0.1), 101.0) == 101.1
    assert next_probe(s, PROBE, 100.0 + QUICK_FOR) == 170.0
    assert next_probe(s._replace(health="healthy"), PROBE, 100.0) == 110.0


@given(st.text(alphabet=".x", max_size=60), st.floats(0.1, 30), st.integers(1, 4), st.integers(1, 4))
def test_what_holds_for_all_results(results: str, every: float, up: int, down: int) -> None:
    probe = PROBE._replace(healthy_after=up, unhealthy_after=down)
    s = run(probe, results, every)
    assert (s.healthy_since > 0) == (s.health == "healthy")
    if s.health == "healthy":
        assert "." * up in results
    if s.health == "unhealthy":
        assert results.count("x") >= down
    few = results.count("x") < TOO_MANY - 1
    if results.endswith("." * (up if few else WINDOW)):
        assert s.health == "healthy"
