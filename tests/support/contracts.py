"""Finds the published API descriptions that some tests hold our requests to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "contracts"


def contract(path: str) -> Path:
    """Return the file of a published contract, such as ``github/webhook-examples/push.json``.

    The directory is ``$A67_CONTRACTS``, by default ``shared/contracts`` beside the checkout. Skips the test,
    saying so, where it is not there.
    """
    file = Path(os.environ.get("A67_CONTRACTS", _BESIDE)) / path
    if not file.exists():
        pytest.skip(f"published contract {path} is not on this machine (set A67_CONTRACTS)")
    return file
