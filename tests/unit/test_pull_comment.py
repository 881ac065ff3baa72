"""The comment below a pull request: nothing in a file breaks out of its place, and it is cut between lines."""

from __future__ import annotations

import html
import re
import string

from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.plan.model import Action, Blocked, Change, FieldChange, Plan
from automator67.engine.pull_comment import MAX_BYTES, code, comment
from automator67.engine.pull_plan import Proposed
from automator67.schemas.problem import Problem

_HARMLESS = set(string.ascii_letters + string.digits + " &#;")


@given(st.text(max_size=200))
def test_any_text_is_one_line_of_code_with_no_sign_that_means_something(text: str) -> None:
    shown = code(text).removeprefix("<code>").removesuffix("</code>")
    assert {c for c in shown if c.isascii()} <= _HARMLESS
    assert all(c.isalnum() for c in shown if not c.isascii())
    assert "\n" not in html.unescape(shown)
    assert re.fullmatch(r"(?:[^&#;]|&#[0-9]+;)*", shown), "every reference is whole"


@given(st.text(max_size=200).filter(str.isprintable))
def test_what_can_be_printed_is_shown_as_it_is(text: str) -> None:
    assert html.unescape(code(text).removeprefix("<code>").removesuffix("</code>")) == text


def _large(count: int, text: str) -> Proposed:
    changes = tuple(
        Change(f"app/a{n}", "update", (), "restarts", (FieldChange("image", text, text + "2"),)) for n in range(count)
    )
    actions = tuple(
        Action(f"s{n}", "start", f"app/a{n}", text, instance=f"a{n}-0-x", node="hel1") for n in range(count)
    )
    return Proposed("h", "b", True, plan=Plan("h", changes, actions, (Blocked("app/a0", text),), (text,)))


def test_a_comment_is_cut_between_lines() -> None:
    text = comment("home", _large(2000, "@everyone `</code>` | ](https://evil.example) <!-- é🦀"))
    assert len(text.encode()) <= MAX_BYTES
    assert "Cut here" in text
    assert text.count("<code>") == text.count("</code>")
    rows = [line for line in text.splitlines() if line.startswith("| <code>")]
    assert len(rows) > 10
    assert {line.count("|") for line in rows} == {6}
    assert "@everyone" not in text
    assert "https://" not in text


def test_an_error_is_a_table_of_places() -> None:
    problem = Problem("x", "apps/a.yaml", 3, 7, "port", "must be a number", "write 80")
    found = Proposed("h", "b", False, (problem, problem))
    assert found.verdict == (False, f"{problem} (and 1 more)")
    assert "<code>apps&#47;a&#46;yaml&#58;3&#58;7</code>" in comment("home", found)


def test_where_copies_come_and_go_and_what_is_at_risk_is_shown() -> None:
    plan = Plan(
        "h",
        (Change("app/a", "move", ("node hel1 leaves",), "destroys data"),),
        (
            Action("1", "start", "app/a", "moved", node="fsn1"),
            Action("2", "stop", "app/a", "moved", node="hel1", waits="until fsn1 is healthy"),
        ),
    )
    text = comment("home", Proposed("h", "b", False, plan=plan))
    assert "**destroys data**" in text
    assert "<code>&#43;fsn1 &#45;hel1</code>" in text
    assert "until fsn1 is healthy" in text
