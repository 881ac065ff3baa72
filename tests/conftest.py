"""What every test has: markers that skip with a plain reason, or fail where the machine must have the part."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import HealthCheck, settings

from tests.support.images import docker_missing

settings.register_profile("ci", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("A67_HYPOTHESIS", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests whose real part is not on this machine, unless the machine is required to have it."""
    for marker, missing, required in (
        ("docker", docker_missing, "A67_REQUIRE_DOCKER"),
        ("browser", _browser_missing, "A67_REQUIRE_BROWSER"),
    ):
        marked = [item for item in items if item.get_closest_marker(marker)]
        if not marked or os.environ.get(required):
            continue
        if why := missing():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=why))


def _browser_missing() -> str:
    return "" if shutil.which("chromium") else "chromium is not installed on this machine"
