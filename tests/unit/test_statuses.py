"""What is posted, when, and in which words: pure decisions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.forges.statuses import (
    LAST_POST,
    LAST_WORDS,
    MAX_CONTEXT,
    MAX_DESCRIPTION,
    STATES_ONLY_FROM,
    Posted,
    Status,
    fit,
    merge,
    next_post,
)

states = st.sampled_from(["pending", "success", "failure", "error"])


def test_what_fits_stays() -> None:
    status = Status("automator67/apply", "success", "3 applied")
    assert fit(status) == status
    assert fit(Status("c" * 255, "success", "d" * 140)) == Status("c" * 255, "success", "d" * 140)


def test_a_long_description_is_cut_and_says_so() -> None:
    cut = fit(Status("c", "failure", "x" * 141)).description
    assert len(cut) == MAX_DESCRIPTION
    assert cut == "x" * 139 + "…"


def test_a_long_context_is_cut_and_stays_unique() -> None:
    one, two = (fit(Status("automator67/app/" + "a" * 300 + end, "success")).context for end in "12")
    assert len(one) == len(two) == MAX_CONTEXT
    assert one[:-12] == two[:-12]
    assert one != two
    assert one == fit(Status("automator67/app/" + "a" * 300 + "1", "error")).context


def test_one_line_whatever_comes() -> None:
    assert fit(Status(" a\tb\n", "error", "one\r\ntwo\x1b[31m\u2028three \u202e")).description == "one two [31m three"
    assert fit(Status(" a\tb\n", "error")).context == "a b"
    assert fit(Status("a", "error", "bad \ud800 surrogate")).description == "bad ? surrogate"


@given(st.text(max_size=400), st.text(max_size=400), states)
def test_everything_fits_and_fitting_twice_changes_nothing(context: str, description: str, state: str) -> None:
    once = fit(Status(context, state, description))  # type: ignore[arg-type]
    assert len(once.context) <= MAX_CONTEXT
    assert len(once.description) <= MAX_DESCRIPTION
    assert once.description == " ".join(once.description.split())
    assert fit(once) == once


def test_only_a_change_is_posted() -> None:
    wanted = Status("c", "success", "done")
    assert next_post(wanted, None) == wanted
    assert next_post(wanted, Posted("", "", 0)) == wanted
    assert next_post(wanted, Posted("success", "done", 1)) is None
    assert next_post(wanted, Posted("pending", "done", 1)) == wanted
    assert next_post(wanted, Posted("success", "other", 1)) == wanted


def test_the_last_posts_are_kept_for_what_matters() -> None:
    wanted = Status("c", "success", "new words")
    assert next_post(wanted, Posted("success", "old words", STATES_ONLY_FROM - 1)) == wanted
    assert next_post(wanted, Posted("success", "old words", STATES_ONLY_FROM)) is None
    assert next_post(wanted, Posted("failure", "old words", STATES_ONLY_FROM)) == wanted
    assert next_post(wanted, Posted("failure", "old words", LAST_POST - 1)) == wanted
    last = next_post(wanted, Posted("failure", "old words", LAST_POST))
    assert last == Status("c", "success", LAST_WORDS)
    assert next_post(wanted, Posted("success", LAST_WORDS, LAST_POST + 1)) is None
    assert next_post(Status("c", "failure", "x"), Posted("success", LAST_WORDS, LAST_POST + 1)) is None
    assert len(LAST_WORDS) <= MAX_DESCRIPTION


@given(st.lists(st.tuples(states, st.sampled_from("abc")), max_size=40))
def test_a_forge_that_gets_every_post_shows_the_last_wish(wishes: list[tuple[str, str]]) -> None:
    shown, count = None, 0
    for state, words in wishes:
        due = next_post(Status("c", state, words), shown)  # type: ignore[arg-type]
        if due:
            count += 1
            shown = Posted(due.state, due.description, count)
        assert shown is not None
        assert (shown.state, shown.description) == (state, words)


@given(st.lists(st.tuples(states, st.sampled_from("abc")), min_size=1), st.integers(0, 1200))
def test_the_forge_s_limit_is_never_reached(wishes: list[tuple[str, str]], before: int) -> None:
    before = min(before, LAST_POST + 1)
    shown = Posted("pending", "x", before)
    for state, words in wishes * 30:
        due = next_post(Status("c", state, words), shown)  # type: ignore[arg-type]
        if due:
            shown = Posted(due.state, due.description, shown.count + 1)
    assert shown.count <= LAST_POST + 1 < 1000


def test_the_last_word_on_a_context_counts() -> None:
    wanted = [Status("a", "pending"), Status("b", "success"), Status("a", "failure"), Status("c", "success")]
    posted = {"b": Posted("success", "", 3), "c": Posted("pending", "", 3)}
    assert merge(wanted, posted) == [Status("a", "failure"), Status("c", "success")]
