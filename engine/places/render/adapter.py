"""Makes the place of a ``kind: render`` node from its file."""

from __future__ import annotations

from collections.abc import Hashable

from automator67.engine.breaker import Breaker
from automator67.engine.places.hosted.login import bearer
from automator67.engine.places.hosted.opening import opened
from automator67.engine.places.protocol import Place
from automator67.engine.places.render.account import PROVIDER, RenderAccount

REGIONS = {"eu": "frankfurt", "us": "oregon", "asia": "singapore", "us-east": "virginia", "us-central": "ohio"}


def make(name: str, cloud: str, configuration: Hashable, breaker: Breaker) -> Place:
    """Return the place. Raises PlaceError when the node cannot be understood."""
    return opened(
        name, cloud, configuration, breaker, provider=PROVIDER, regions=REGIONS, authorize=bearer,
        account=RenderAccount,
    )  # fmt: skip
