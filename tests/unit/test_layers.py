"""What the documentation says of how adapters were proven is what the tests do."""

from __future__ import annotations

from pathlib import Path

from tests.support.layers import missing, table, written

DOCUMENT = Path(__file__).parents[2] / "docs" / "providers.md"


def test_the_table_of_proofs_is_that_of_the_tests() -> None:
    text = DOCUMENT.read_text()
    assert written(text) == text, "run: python -m tests.support.layers docs/providers.md"
    assert missing() == set()


def test_no_proof_is_claimed_that_there_is_not() -> None:
    cells = {line.split(" | ")[0].strip("| "): line for line in table().splitlines()}
    assert "read | yes" in cells["render"]
    assert "no description" in cells["desec"]
    assert "none | no" in cells["supabase"]
    assert not any("| run" in line for line in cells.values())
