"""Makes the place of a ``kind: cloudrun`` node from its file."""

from __future__ import annotations

from collections.abc import Hashable

from automator67.engine.apis.google import ServiceAccount
from automator67.engine.breaker import Breaker
from automator67.engine.places.cloudrun.account import PROVIDER, CloudRunAccount
from automator67.engine.places.hosted.opening import opened
from automator67.engine.places.protocol import Place

REGIONS = {
    "us": "us-central1", "us-east": "us-east1", "us-west": "us-west1", "eu": "europe-west1", "asia": "asia-east1",
}  # fmt: skip


def make(name: str, cloud: str, configuration: Hashable, breaker: Breaker) -> Place:
    """Return the place. Raises PlaceError when the node cannot be understood."""
    return opened(
        name, cloud, configuration, breaker, provider=PROVIDER, regions=REGIONS, authorize=ServiceAccount,
        account=lambda client, region, project: CloudRunAccount(client, project, region),
    )  # fmt: skip
