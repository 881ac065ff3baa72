"""Field changes, summaries and the text of a plan."""

from __future__ import annotations

from automator67.engine.plan.diff import field_changes
from automator67.engine.plan.model import Action, Blocked, Change, FieldChange, Plan
from automator67.engine.plan.order import dependants_first, dependencies_first
from automator67.engine.plan.render import as_data, as_text, past, summary


def test_nested_keys_are_compared_one_by_one() -> None:
    old = {"image": "blog:1", "health": {"path": "/", "interval": "10s"}, "port": 80}
    new = {"image": "blog:2", "health": {"path": "/", "interval": "5s"}, "replicas": 2}
    assert field_changes(old, new) == (
        FieldChange("image", "blog:1", "blog:2"),
        FieldChange("health.interval", "10s", "5s"),
        FieldChange("replicas", "", "2"),
        FieldChange("port", "80", ""),
    )


def test_secrets_show_by_name_only() -> None:
    changes = field_changes({"env": {"DB": {"secret": "a"}}}, {"env": {"DB": {"secret": "b"}}})
    assert changes == (FieldChange("env.DB", "secret a", "secret b"),)


def test_values_of_the_environment_do_not_show() -> None:
    changes = field_changes({"env": {"A": "hunter2", "B": "x"}}, {"env": {"A": "hunter3", "C": "y"}})
    shown = [(c.path, c.old, c.new) for c in changes]
    assert shown == [("env.A", "a value", "another value"), ("env.C", "", "a value"), ("env.B", "a value", "")]


def test_long_values_that_differ_at_their_end_are_still_a_change() -> None:
    (change,) = field_changes({"command": "x" * 200 + "a"}, {"command": "x" * 200 + "b"})
    assert len(change.new) == 80


def test_summary_counts_kinds_and_reads_as_past() -> None:
    plan = Plan("c", (Change("app/a", "create"), Change("app/b", "create"), Change("app/c", "move")),
                blocked=(Blocked("app/d", "x"), Blocked("app/d", "y")))  # fmt: skip
    assert summary(plan) == "2 to create, 1 to move, 1 blocked"
    assert past(summary(plan)) == "2 created, 1 moved, 1 blocked"
    assert past(summary(Plan("c"))) == "nothing to change"


def test_text_shows_changes_steps_and_what_they_wait_for() -> None:
    change = Change("app/a", "update", ("image a:1 → a:2",), "restarts", (FieldChange("image", "a:1", "a:2"),))
    step = Action("x", "stop", "app/a", "revision 1 is replaced by 2", instance="a-0-1", node="n0", waits="waits for b")
    text = as_text(Plan("c", (change,), (step,), (Blocked("app/b", "no node offers docker"),), unchanged=4))
    assert "~ app/a  update  [restarts]" in text
    assert "    image: a:1 → a:2" in text
    assert "1. stop a-0-1 on n0: revision 1 is replaced by 2\n     waits for b" in text
    assert "! app/b: no node offers docker" in text
    assert text.endswith("1 to update, 1 blocked; 4 unchanged")
    assert as_text(Plan("c", unchanged=2)) == "nothing to do; 2 unchanged"


def test_data_tells_which_steps_are_ready() -> None:
    data = as_data(Plan("c", actions=(Action("x", "start", "app/a", "new"),)))
    assert data["actions"][0]["ready"] is True


def test_order_follows_dependencies_and_then_the_alphabet() -> None:
    needs = {"web": ["db", "cache"], "db": [], "cache": ["db"], "api": [], "zoo": ["nothing-like-this"]}
    order = dependencies_first(needs)
    assert order == ["api", "zoo", "db", "cache", "web"]
    assert dependants_first(needs) == order[::-1]
