"""Makes the place of a ``kind: render`` node from its file."""

from __future__ import annotations

from collections.abc import Hashable

from automator67.engine.apis.client import ApiError, Client
from automator67.engine.places.hosted.login import Configuration, bearer, region_of
from automator67.engine.places.hosted.place import HostedPlace
from automator67.engine.places.protocol import Place, PlaceError
from automator67.engine.places.render.account import PROVIDER, RenderAccount

REGIONS = {"eu": "frankfurt", "us": "oregon", "asia": "singapore", "us-east": "virginia", "us-central": "ohio"}


def make(name: str, cloud: str, configuration: Hashable) -> Place:
    """Return the place. Raises PlaceError when the node cannot be understood."""
    assert isinstance(configuration, Configuration)
    c = configuration
    region = region_of(c, REGIONS, PROVIDER.name)
    try:
        client = Client(PROVIDER, bearer(c.token), base=c.endpoint)
    except ApiError as error:
        raise PlaceError(str(error)) from None
    return HostedPlace(name, cloud, RenderAccount(client, region, c.account), c.room)
