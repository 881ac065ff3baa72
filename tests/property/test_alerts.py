"""Whatever happens: of each incident a target is told once, and once that it is over; nothing is lost or doubled."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from automator67.engine.alerts.incidents import CALM_SECONDS, Incident, Silence, Trouble
from automator67.engine.alerts.rules import Rule, Target
from automator67.engine.alerts.telling import Notification, over, step

RESOURCES = ("node/a", "node/b", "app/x", "app/y", "engine/network")
BECAUSE = {"app/x": {"node/a", "engine/network"}, "app/y": {"node/b"}, "node/a": {"engine/network"}}
TARGETS = (Target(secret="one"), Target(secret="two"))
ON = st.frozensets(st.sampled_from(["bad", "worse", "recovered"]), min_size=1)
RULES = st.lists(
    st.builds(
        Rule, st.sampled_from(TARGETS), ON, st.sampled_from([0.0, 20.0]),
        labels=st.sampled_from([frozenset(), frozenset({("kind", "app")})]), group=st.sampled_from([0.0, 7.0]),
        repeat=st.sampled_from([0.0, 300.0]),
    ),
    max_size=4,
)  # fmt: skip


def trouble(resource: str, state: str) -> Trouble:
    labels = frozenset({("kind", resource.partition("/")[0])})
    return Trouble(resource, "c", state, "why", labels, frozenset(BECAUSE.get(resource, ())), keeps=state == "keeps")


LOOKS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(RESOURCES), st.sampled_from(["mild", "bad", "worse", "keeps"])),
        st.sampled_from([0.5, 5.0, 12.0, 100.0]),
        st.lists(st.builds(Silence, st.sampled_from([*RESOURCES, "app/*", "*"]), st.floats(0, 2000)), max_size=1),
    ),
    max_size=25,
)


class Run:
    """Looks, restarted (from what would be in the store) every few looks."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = rules
        self.incidents: tuple[Incident, ...] = ()
        self.seen: dict[str, Incident] = {}
        self.said: list[Notification] = []

    def look(self, troubles: list[Trouble], silences: list[Silence], now: float) -> float:
        found = step(self.incidents, troubles, self.rules, silences, now)
        self.seen |= {i.id: i for i in found.incidents}
        self.incidents = tuple(i for i in found.incidents if not over(i, self.rules))
        self.said += found.notifications
        assert not found.wake_at or found.wake_at > now
        return found.wake_at


@settings(max_examples=1500, deadline=None)
@given(RULES, LOOKS)
def test_once_for_the_problem_and_once_for_the_end(
    rules: list[Rule], looks: list[tuple[dict[str, str], float, list[Silence]]]
) -> None:
    run, now = Run(rules), 0.0
    for states, wait, silences in looks:
        now += wait
        run.look([trouble(r, s) for r, s in states.items()], silences, now)
    # Then all is well, and every look that was asked for is made.
    for _ in range(50):
        wake = run.look([], [], now)
        if not wake:
            break
        now = wake
    problems, ends = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for n in run.said:
        for i in n.incidents:
            (ends if n.kind == "resolved" else problems)[n.target.id, i.id] += 1
    assert len({n.id for n in run.said}) == len(run.said)
    for (target, name), count in problems.items():
        mine = [r for r in rules if r.target.id == target and r.fits(run.seen[name].labels)]
        assert mine, "told by a rule that is not about it"
        assert count == 1 or any(r.repeat for r in mine)
        assert ends[target, name] == any("recovered" in r.on for r in mine)
    assert set(ends) <= set(problems), "the end of what was never told"
    assert not run.incidents, "something is never over"


@settings(max_examples=500, deadline=None)
@given(RULES, st.sampled_from(RESOURCES), st.sampled_from(["bad", "worse"]))
def test_what_lasts_is_told_to_everybody_who_asked_for_it(rules: list[Rule], resource: str, state: str) -> None:
    run, now = Run(rules), 1.0
    lasting = trouble(resource, state)
    while now and now < 250.0:
        now = run.look([lasting], [], now)
    told = {n.target.id for n in run.said}
    assert told == {r.target.id for r in rules if state in r.on and r.fits(lasting.labels)}


@settings(max_examples=500, deadline=None)
@given(RULES, st.lists(st.booleans(), max_size=60))
def test_what_flaps_faster_than_the_calm_is_one_incident(rules: list[Rule], flaps: list[bool]) -> None:
    run, now = Run(rules), 0.0
    run.look([trouble("node/a", "bad")], [], now)
    for there in flaps:
        now += CALM_SECONDS / 3
        run.look([trouble("node/a", "bad")] if there else [trouble("node/a", "keeps")], [], now)
    assert len(run.seen) == 1
