"""Free tiers as data: what is shipped, what the repository says instead, how old it is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from automator67.engine.capabilities import CAPABILITIES
from automator67.engine.desired import Desired, Node, Origin
from automator67.engine.facts import shipped
from automator67.engine.observed import Observed
from automator67.engine.plan.planner import plan
from automator67.engine.tiers import STALE_DAYS, Tier, doubt, known, tier_of


def node(name: str, kind: str = "agent") -> Node:
    return Node(name, Origin(f"nodes/{name}.yaml", "b"), kind)


def at(day: str, days: int = 0) -> float:
    return (datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=days)).timestamp()


def test_every_shipped_fact_has_a_date_a_source_and_a_confidence() -> None:
    assert shipped()
    for kind, fact in shipped().items():
        tier = tier_of(shipped(), kind, {})
        assert tier is not None
        assert datetime.fromisoformat(tier.as_of), kind
        assert tier.source, kind
        assert tier.confidence in ("high", "medium", "low"), kind
        assert isinstance(fact["card"], bool), kind


def test_every_kind_that_runs_apps_for_an_account_has_a_tier() -> None:
    hosted = {kind for kind, able in CAPABILITIES.items() if able.copies is not None}
    assert hosted
    for kind in hosted:
        tier = tier_of(shipped(), kind, {})
        assert tier is not None
        assert tier.memory, kind


def test_the_repository_and_the_node_say_it_better() -> None:
    facts = known(shipped(), {"render": {"memory": "1Gi", "as_of": "2027-01-01"}, "new": {"sleeps": True}})
    tier = tier_of(facts, "render", {"quota": {"services": 2, "egress": "5GB", "of_mine": 3}})
    assert tier is not None
    assert (tier.memory, tier.hours, tier.services, tier.egress) == (2**30, 750.0, 2.0, 5 * 10**9)
    assert tier.as_of == "2027-01-01"
    assert tier_of(facts, "new", {}) == Tier("new", sleeps=True)
    assert tier_of(facts, "agent", {}) is None


@pytest.mark.parametrize("day", ["2026-06-23", "2024-02-29", "2023-12-31", "2000-03-01"])
def test_a_fact_is_stale_after_half_a_year(day: str) -> None:
    tier = Tier("render", as_of=day, confidence="high", source=("render.com",))
    assert doubt(tier, at(day, STALE_DAYS) + 86399) == ""
    said = doubt(tier, at(day, STALE_DAYS + 1))
    assert f"checked on {day}, 181 days ago (render.com)" in said
    assert "facts: {render: {as_of: ...}}" in said


def test_what_is_uncertain_is_said() -> None:
    assert "uncertain: who knows" in doubt(
        Tier("koyeb", as_of="2026-08-17", confidence="low", note="who knows"), at("2026-08-18")
    )
    for damaged in ("", "yesterday", "2026-13-01"):
        assert "not known" in doubt(Tier("koyeb", as_of=damaged), at("2026-08-18"))


def test_plan_warns_once_for_each_provider() -> None:
    old = Tier("render", as_of="2026-01-01", confidence="high")
    nodes = {name: replace(node(name, kind="render"), tier=old) for name in ("r1", "r2")}
    nodes["one"] = node("one")
    (warning,) = plan(Desired("c" * 40, nodes=nodes), Observed(), at("2026-11-01")).warnings
    assert "render" in warning
    assert plan(Desired("c" * 40, nodes=nodes), Observed(), at("2026-03-01")).warnings == ()
