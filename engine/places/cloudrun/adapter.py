"""Makes the place of a ``kind: cloudrun`` node from its file."""

from __future__ import annotations

from collections.abc import Hashable

from automator67.engine.apis.client import ApiError, Client
from automator67.engine.apis.google import ServiceAccount
from automator67.engine.places.cloudrun.account import PROVIDER, CloudRunAccount
from automator67.engine.places.hosted.login import Configuration, region_of
from automator67.engine.places.hosted.place import HostedPlace
from automator67.engine.places.protocol import Place, PlaceError

REGIONS = {
    "us": "us-central1", "us-east": "us-east1", "us-west": "us-west1", "eu": "europe-west1", "asia": "asia-east1",
}  # fmt: skip


def make(name: str, cloud: str, configuration: Hashable) -> Place:
    """Return the place. Raises PlaceError when the node cannot be understood."""
    assert isinstance(configuration, Configuration)
    c = configuration
    region = region_of(c, REGIONS, PROVIDER.name)
    try:
        client = Client(PROVIDER, ServiceAccount(c.token), base=c.endpoint)
    except ApiError as error:
        raise PlaceError(str(error)) from None
    return HostedPlace(name, cloud, CloudRunAccount(client, c.account, region), c.room)
