"""Redaction: no known value is left in a text, however it is written there, and other texts stay as they are."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

from hypothesis import example, given
from hypothesis import strategies as st

from automator67.engine.secrets.redaction import Redactor, forms

values = st.text(st.characters(codec="utf-8"), min_size=6, max_size=60).filter(lambda t: len(t.strip()) >= 6)
around = st.text(st.characters(codec="utf-8"), max_size=40)


def redactor(**known: str) -> Redactor:
    made = Redactor()
    for name, value in known.items():
        made.learn(name, value.encode())
    return made


@given(values, around, around)
@example("aaaaaaa", "aaa", "aaaaaaaaa")
def test_no_form_of_a_value_is_left(value: str, before: str, after: str) -> None:
    text = value.strip()
    written = [
        text, quote(text, safe=""), quote_plus(text), json.dumps(text)[1:-1],
        base64.b64encode(text.encode()).decode().rstrip("="),
    ]  # fmt: skip
    for form in written:
        found = redactor(db=value).text(f"{before} {form} {after}")
        assert "[secret db]" in found
        rest = found.replace("[secret db]", "\n")
        assert text not in rest


@given(values, st.binary(max_size=20), st.binary(max_size=20))
def test_a_value_inside_longer_base64_is_found(value: str, before: bytes, after: bytes) -> None:
    text = base64.b64encode(before + value.strip().encode() + after).decode()
    assert "[secret db]" in redactor(db=value).text(f"authorization: basic {text}")


@given(st.lists(values, max_size=4), around)
def test_a_text_without_values_stays_and_repeating_changes_nothing(known: list[str], text: str) -> None:
    made = Redactor()
    for n, value in enumerate(known):
        made.learn(f"s{n}", value.encode())
    once = made.text(text)
    if not any(form in text for value in known for form in forms(value.encode())):
        assert once == text
    assert Redactor().text(text) == text


def test_the_longest_value_goes_first_and_short_ones_are_not_looked_for() -> None:
    made = redactor(short="abcde", part="hunter22", whole="hunter22-and-more")
    assert made.text("x hunter22-and-more y hunter22 abcde") == "x [secret whole] y [secret part] abcde"


def test_lines_of_a_key_are_found_one_by_one() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ\nabc\n-----END PRIVATE KEY-----\n"
    found = redactor(tls=pem).text("line MC4CAQAwBQYDK2VwBCIEIJ and -----BEGIN PRIVATE KEY----- and abc")
    assert found == "line [secret tls] and -----BEGIN PRIVATE KEY----- and abc"


def test_only_free_texts_of_a_report_are_changed() -> None:
    made = redactor(odd="running")
    report = {"phase": "running", "detail": "it was running", "drift": ["running"], "in": [{"message": "running"}]}
    free = frozenset({"detail", "drift", "message"})
    assert made.fields(report, free) == {
        "phase": "running", "detail": "it was [secret odd]", "drift": ["[secret odd]"],
        "in": [{"message": "[secret odd]"}],
    }  # fmt: skip
