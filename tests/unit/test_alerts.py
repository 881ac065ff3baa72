"""Incidents and who is told of them: once, again while it lasts, once that it is over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automator67.engine.alerts.incidents import CALM_SECONDS, Incident, Silence, Trouble
from automator67.engine.alerts.rules import DEFAULT_ON, Rule, Target, rules_of
from automator67.engine.alerts.telling import Notification, over, step
from automator67.engine.alerts.words import as_data, text, title

SLACK, MAIL = Target(secret="slack"), Target(secret="mail")
NODE = Trouble("node/hel1", "node", "failing", "no heartbeat for 80 s", frozenset({("kind", "node"), ("name", "hel1")}))
APP = Trouble(
    "app/blog",
    "health",
    "missing",
    "0 of 2 copies are healthy",
    frozenset({("kind", "app")}),
    frozenset({NODE.resource}),
)


class Story:
    """Looks at what is wrong, again and again; ``said`` is what each look led to."""

    def __init__(self, *rules: Rule) -> None:
        self.rules, self.now = rules, 1000.0
        self.incidents: tuple[Incident, ...] = ()
        self.silences: list[Silence] = []
        self.said: list[Notification] = []
        self.wake_at = 0.0

    def look(self, *troubles: Trouble, after: float = 0.0) -> list[Notification]:
        self.now += after
        found = step(self.incidents, troubles, self.rules, self.silences, self.now)
        self.incidents = tuple(i for i in found.incidents if not over(i, self.rules))
        self.wake_at = found.wake_at
        self.said += found.notifications
        return list(found.notifications)

    def last(self, seconds: float, *troubles: Trouble) -> list[Notification]:
        """Look whenever the last look asked for it, for so long."""
        end, before = self.now + seconds, len(self.said)
        self.look(*troubles)
        while self.wake_at and self.wake_at <= end:
            self.look(*troubles, after=self.wake_at - self.now)
        self.now = end
        return self.said[before:]


def kinds(said: list[Notification]) -> list[tuple[str, str]]:
    return [(n.kind, i.resource) for n in said for i in n.incidents]


def test_one_alert_and_one_resolution_however_bad_it_gets() -> None:
    story = Story(Rule(SLACK))
    story.last(60, replace(NODE, state="suspect"))
    assert not story.said, "suspect is not in on"
    story.last(60, NODE)
    story.last(60, replace(NODE, state="unavailable"))
    story.last(60, replace(NODE, state="recovering", keeps=True))
    assert kinds(story.said) == [("problem", "node/hel1")]
    assert kinds(story.last(60)) == [("resolved", "node/hel1")]
    assert not story.last(600)
    assert not story.incidents


def test_what_comes_and_goes_is_one_incident() -> None:
    story = Story(Rule(SLACK))
    for _ in range(20):
        story.last(CALM_SECONDS / 2, NODE)
        story.last(CALM_SECONDS / 2)
    story.last(60)
    assert kinds(story.said) == [("problem", "node/hel1"), ("resolved", "node/hel1")]


def test_what_is_over_before_it_is_told_is_not_told() -> None:
    story = Story(Rule(SLACK, wait=60.0))
    story.last(50, NODE)
    story.last(60)
    assert not story.said
    story.last(66, NODE)
    assert kinds(story.said) == [("problem", "node/hel1")]


def test_it_waits_from_when_the_state_began_that_the_rule_names() -> None:
    story = Story(Rule(SLACK, on=frozenset({"unavailable", "recovered"}), wait=30.0, group=0.0))
    story.last(100, NODE)
    assert not story.last(29, replace(NODE, state="unavailable"))
    assert story.last(2, replace(NODE, state="unavailable"))


def test_what_comes_together_is_told_together() -> None:
    story = Story(Rule(SLACK, group=10.0))
    story.look(NODE)
    story.look(NODE, replace(APP, because=frozenset()), after=4.0)
    assert not story.said
    (one,) = story.last(20, NODE, replace(APP, because=frozenset()))
    assert [i.resource for i in one.incidents] == ["node/hel1", "app/blog"]
    assert title("home", one.kind, one.incidents) == "[home] node/hel1 failing and 1 more"


def test_it_is_repeated_while_it_lasts() -> None:
    story = Story(Rule(SLACK, repeat=3600.0))
    story.last(3 * 3600 + 60, NODE)
    assert [n.kind for n in story.said] == ["problem", "repeat", "repeat", "repeat"]
    assert len({n.id for n in story.said}) == 4
    story = Story(Rule(SLACK, repeat=0.0))
    story.last(10 * 86400, NODE)
    assert len(story.said) == 1


def test_a_node_that_is_down_explains_its_apps() -> None:
    story = Story(Rule(SLACK))
    (one,) = story.last(60, NODE, APP)
    assert [i.resource for i in one.incidents] == ["node/hel1"]
    assert "Because of that: app/blog (missing)" in text(one)
    # The node is back, the app is not: now it is told by itself.
    assert set(kinds(story.last(60, APP))) == {("resolved", "node/hel1"), ("problem", "app/blog")}
    assert kinds(story.last(60)) == [("resolved", "app/blog")]


def test_nothing_is_explained_by_what_the_target_is_not_told_of() -> None:
    only_apps = Rule(MAIL, labels=frozenset({("kind", "app")}))
    story = Story(only_apps)
    assert kinds(story.last(60, NODE, APP)) == [("problem", "app/blog")]


def test_an_app_that_recovers_with_its_node_is_never_told() -> None:
    story = Story(Rule(SLACK))
    story.last(60, NODE, APP)
    story.last(60)
    assert {r for _, r in kinds(story.said)} == {"node/hel1"}


def test_a_silence_keeps_quiet_until_it_ends() -> None:
    story = Story(Rule(SLACK))
    story.silences = [Silence("node/*", story.now + 600.0)]
    assert not story.last(599, NODE)
    assert kinds(story.last(60, NODE)) == [("problem", "node/hel1")]
    story.silences = [Silence("*", story.now + 600.0)]
    assert kinds(story.last(60)) == [("resolved", "node/hel1")], "who was told is told of the end"


def test_each_target_by_its_own_rules_and_once_by_several() -> None:
    story = Story(Rule(SLACK), Rule(SLACK, on=frozenset({"failing"}), severity="critical"), Rule(MAIL, wait=600.0))
    assert [n.target for n in story.last(60, NODE)] == [SLACK]
    assert [n.target for n in story.last(600, NODE)] == [MAIL]


def test_an_event_is_told_and_has_no_end() -> None:
    applied = Trouble("commit/abc", "apply", "applied", "3 created", once=True)
    story = Story(Rule(SLACK, on=frozenset({"applied", "recovered"}), repeat=0.0))
    assert kinds(story.last(60, applied)) == [("problem", "commit/abc")]
    assert not story.last(600, applied)
    assert kinds(story.last(60, replace(applied, resource="commit/def"))) == [("problem", "commit/def")]


def test_a_rule_that_is_gone_lets_its_incidents_end() -> None:
    story = Story(Rule(SLACK))
    story.last(60, NODE)
    story.rules = ()
    story.last(60)
    assert not story.incidents


def test_a_look_that_is_repeated_says_the_same_by_the_same_id() -> None:
    story = Story(Rule(SLACK, group=0.0))
    before = story.incidents
    one = step(before, [NODE], story.rules, [], 5.0)
    assert one == step(before, [NODE], story.rules, [], 5.0)


def test_rules_are_read_with_their_defaults() -> None:
    mail = "mailto://a:b@example.org"
    slack, second = rules_of({
        "alerts": [
            {"to": {"secret": "slack"}},
            {"to": mail, "on": ["held"], "for": "1m", "group": "30s", "repeat": "1d", "severity": "critical",
             "resources": {"kind": "app", "gpu": True}, "template": "{resource}"},
        ]
    })  # fmt: skip
    assert slack == Rule(SLACK, frozenset(DEFAULT_ON))
    assert (second.wait, second.group, second.repeat, second.severity) == (60.0, 30.0, 86400.0, "critical")
    assert second.labels == {("kind", "app"), ("gpu", "true")}
    assert second.target.id.startswith("url-")
    assert mail not in second.target.id


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{resource}: {state} ({reason}) {severity}", "node/hel1: failing (no heartbeat for 80 s) warning"),
        ("{0.__class__} {unknown} {resource.x} %s", "{0.__class__} {unknown} {resource.x} %s"),
    ],
)
def test_a_template_is_filled_in_and_nothing_else(template: str, said: str) -> None:
    story = Story(Rule(SLACK, template=template))
    (one,) = story.last(60, NODE)
    assert text(one) == said


def test_what_a_hook_gets_has_everything() -> None:
    story = Story(Rule(SLACK, severity="critical"))
    (one,) = story.last(60, NODE, APP)
    data = as_data("home", one)
    assert (data["version"], data["kind"], data["severity"], data["cloud"]) == (1, "problem", "critical", "home")
    assert data["title"] == "[home] node/hel1 failing"
    (incident,) = data["incidents"]
    assert incident == {
        "id": one.incidents[0].id, "resource": "node/hel1", "concern": "node", "state": "failing",
        "reason": "no heartbeat for 80 s", "opened_at": 1000.0, "ended_at": None, "commit": "",
    }  # fmt: skip
    assert [i["resource"] for i in data["explained"]] == ["app/blog"]
    assert "slack" not in str(data)
