"""The real providers, for whoever has an account: skipped unless its token is in the environment.

    A67_LIVE_RENDER=rnd_... pytest tests/live          A67_LIVE_KOYEB=...
    A67_LIVE_CLOUDRUN=key.json A67_LIVE_CLOUDRUN_PROJECT=...

Each makes one service from a public image, waits until it answers, and takes it away again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from automator67.engine.places.cloudrun import adapter as cloudrun
from automator67.engine.places.converge import Shaped, converge
from automator67.engine.places.hosted.login import Configuration
from automator67.engine.places.koyeb import adapter as koyeb
from automator67.engine.places.protocol import Opened, Place, Unit
from automator67.engine.places.render import adapter as render

MAKE: dict[str, Callable[[str, str, Configuration], Place]] = {
    "render": render.make, "koyeb": koyeb.make, "cloudrun": cloudrun.make,
}  # fmt: skip
HELLO = Unit(
    "live", "r1", 1, (0,), {"image": "docker.io/nginxinc/nginx-unprivileged:stable", "port": 8080, "env": {}}
)  # fmt: skip
LONGEST = 600.0


@pytest.mark.slow
@pytest.mark.timeout(2 * LONGEST)
@pytest.mark.parametrize("kind", sorted(MAKE))
def test_a_service_is_made_answers_and_is_gone(kind: str) -> None:
    token = os.environ.get(f"A67_LIVE_{kind.upper()}", "")
    if not token:
        pytest.skip(f"A67_LIVE_{kind.upper()} is not set: nothing is asked of the real {kind}")
    text = Path(token).read_text() if kind == "cloudrun" else token
    account = os.environ.get(f"A67_LIVE_{kind.upper()}_PROJECT", "")
    place = MAKE[kind]("live", "a67live", Configuration(text, account=account, room=(1.0, 2**29)))

    def turn(*wanted: Unit) -> str:
        seen = place.observe()
        for act in converge([Shaped(u, place.shape(u, Opened())) for u in wanted], seen, {}):
            place.act(act)
        units = place.observe().units
        return str(units["live"].instances[0]["address"]) if "live" in units else ""

    try:
        end, url = time.monotonic() + LONGEST, ""
        while not url and time.monotonic() < end:
            url = turn(HELLO)
            time.sleep(0 if url else 10)
        assert httpx.get(url, timeout=120).status_code == 200
    finally:
        turn()
        assert "live" not in place.observe().units
        place.close()
