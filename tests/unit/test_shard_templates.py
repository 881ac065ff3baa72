"""Which texts share a plan, and which must not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automator67.engine.shards.plan.templates import template_of, values_in


@pytest.mark.parametrize(
    ("text", "template", "values"),
    [
        ("SELECT v FROM orders WHERE id = 7", "SELECT v FROM orders WHERE id = $1", ("7",)),
        ("SELECT v FROM orders WHERE id=-7;", "SELECT v FROM orders WHERE id=$1;", ("-7",)),
        ("SELECT v FROM orders WHERE a='it' AND b >= 3 LIMIT 5",
         "SELECT v FROM orders WHERE a=$1 AND b >= $2 LIMIT 5", ("it", "3")),
        ("INSERT INTO orders (id, name) VALUES (1, 'x')", "INSERT INTO orders (id, name) VALUES ($1, $2)", ("1", "x")),
        ("UPDATE orders SET qty = qty + 5 WHERE id = 6", "UPDATE orders SET qty = qty + $1 WHERE id = $2", ("5", "6")),
    ],
)  # fmt: skip
def test_values_become_slots(text: str, template: str, values: tuple[str, ...]) -> None:
    found = template_of(text)
    assert found is not None
    assert (found.text, found.values) == (template, values)
    assert values_in(found.pattern, text) == values


@pytest.mark.parametrize(
    "pair",
    [
        ("SELECT a, b FROM orders ORDER BY 1", "SELECT a, b FROM orders ORDER BY 2"),
        ("SELECT a::numeric(10,2) FROM orders WHERE id = 1", "SELECT a::numeric(10,3) FROM orders WHERE id = 1"),
        ("SELECT a AS x FROM orders WHERE id = 1", "SELECT a AS y FROM orders WHERE id = 1"),
        ("SELECT a FROM orders WHERE id = 1", "SELECT a FROM orders WHERE id = '1'"),
        ("SELECT a FROM orders WHERE id = 1", "SELECT a FROM orders WHERE id = 1.5"),
        ("SELECT a FROM orders WHERE id = 1 LIMIT 1", "SELECT a FROM orders WHERE id = 1 LIMIT 2"),
        ("SELECT a FROM orders WHERE id = 1 OFFSET 1", "SELECT a FROM orders WHERE id = 1 OFFSET 2"),
        ("SELECT a FROM orders WHERE id IN (1, 2)", "SELECT a FROM orders WHERE id IN (1, 2, 3)"),
        ("SELECT a FROM orders WHERE id = 1 AND t > 'now'", "SELECT a FROM orders WHERE id = 1 AND t > '2020-01-01'"),
        ("SELECT a FROM orders WHERE b = 'x' AND c = 1", "SELECT a FROM orders WHERE b = E'x' AND c = 1"),
        ("SELECT a FROM orders WHERE b = 'it''s' AND c = 1", "SELECT a FROM orders WHERE b = 'it' AND c = 1"),
        ("INSERT INTO orders VALUES (1, 2)", "INSERT INTO orders VALUES (1, 2), (3, 4)"),
        ("SELECT a FROM orders WHERE id = 1", "SELECT a FROM orders WHERE id = 1 OR id = 2"),
        ("SELECT a FROM orders WHERE id = 1", "SELECT a FROM orders WHERE id = -1.5"),
        ("SELECT a FROM orders WHERE id = 1 -- b", "SELECT a FROM orders WHERE id = 1 -- c"),
    ],
)
def test_texts_that_mean_something_else_share_no_plan(pair: tuple[str, str]) -> None:
    for one, other in (pair, pair[::-1]):
        found = template_of(one)
        assert found is None or values_in(found.pattern, other) is None


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'a = 5 and' FROM orders",
        'SELECT "x = 5" FROM orders ORDER BY 1',
        "SELECT a FROM orders -- WHERE id = 5",
        "SELECT a FROM orders WHERE x = E'\\' and y = 5'",
        "SELECT a FROM orders WHERE x = $1 AND y = 5",
        "SELECT a FROM orders /* x = 5 */",
        "SELECT a FROM orders WHERE t = interval '1 day'",
        "SELECT a FROM orders WHERE t < 'now'",
        "SELECT a FROM orders WHERE x = 5 + 1",
        "SELECT a FROM orders WHERE x = 5::text",
    ],
)
def test_what_is_no_plain_value_is_no_slot(text: str) -> None:
    assert template_of(text) is None


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), st.integers(-(10**17), 10**17))
def test_values_come_back_as_they_are(text: str, number: int) -> None:
    written = text.replace("'", "''")
    sql = f"SELECT a FROM orders WHERE b = '{written}' AND c = {number}"
    found = template_of(sql)
    if found is not None:
        assert found.values[-1] == str(number)
        assert found.values[:-1] in ((text,), ())
