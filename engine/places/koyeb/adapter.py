"""Makes the place of a ``kind: koyeb`` node from its file."""

from __future__ import annotations

from collections.abc import Hashable

from automator67.engine.breaker import Breaker
from automator67.engine.places.hosted.login import bearer
from automator67.engine.places.hosted.opening import opened
from automator67.engine.places.koyeb.account import PROVIDER, KoyebAccount
from automator67.engine.places.protocol import Place

REGIONS = {"eu": "fra", "us": "was"}
"""Those that have free instances."""


def make(name: str, cloud: str, configuration: Hashable, breaker: Breaker) -> Place:
    """Return the place. Raises PlaceError when the node cannot be understood."""
    return opened(
        name, cloud, configuration, breaker, provider=PROVIDER, regions=REGIONS, authorize=bearer,
        account=lambda client, region, _: KoyebAccount(client, region),
    )  # fmt: skip
