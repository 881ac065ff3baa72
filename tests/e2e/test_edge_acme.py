"""Certificates from an authority that speaks ACME, asked for when the first request for a name comes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(os.getuid() != 0, reason="a network namespace with ports 80 and 443 needs root")
def test_names_of_the_table_get_a_certificate_with_their_first_request_and_no_others(tmp_path: Path) -> None:
    made = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "tests.support.acme_world", tmp_path],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    if "Operation not permitted" in made.stderr:
        pytest.skip("no network namespaces here")
    assert made.returncode == 0, made.stderr
    found = json.loads(made.stdout)
    assert [found[k][0] for k in ("first", "second")] == ["web GET / 0", "web GET / 0"]
    assert found["second"][1] < 1
    # Refused in the handshake; nobody was asked for a certificate.
    assert found["unknown"][0] == found["before"][0] == "SSLError"
    assert found["made"] == ["late.test", "site.test"]
    assert found["same"]
