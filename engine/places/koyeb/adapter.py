"""Makes the place of a ``kind: koyeb`` node from its file."""

from __future__ import annotations

from collections.abc import Hashable

from automator67.engine.apis.client import ApiError, Client
from automator67.engine.places.hosted.login import Configuration, bearer, region_of
from automator67.engine.places.hosted.place import HostedPlace
from automator67.engine.places.koyeb.account import PROVIDER, KoyebAccount
from automator67.engine.places.protocol import Place, PlaceError

REGIONS = {"eu": "fra", "us": "was"}
"""Those that have free instances."""


def make(name: str, cloud: str, configuration: Hashable) -> Place:
    """Return the place. Raises PlaceError when the node cannot be understood."""
    assert isinstance(configuration, Configuration)
    c = configuration
    region = region_of(c, REGIONS, PROVIDER.name)
    try:
        client = Client(PROVIDER, bearer(c.token), base=c.endpoint)
    except ApiError as error:
        raise PlaceError(str(error)) from None
    return HostedPlace(name, cloud, KoyebAccount(client, region), c.room)
