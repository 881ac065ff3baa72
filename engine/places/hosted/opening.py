"""Makes the place of an account from its node's file."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from automator67.engine.apis.client import ApiError, Client, Provider
from automator67.engine.breaker import Breaker
from automator67.engine.places.hosted.login import Configuration, region_of
from automator67.engine.places.hosted.place import Account, HostedPlace
from automator67.engine.places.protocol import Place, PlaceError


def opened(
    name: str,
    cloud: str,
    configuration: Hashable,
    breaker: Breaker,
    *,
    provider: Provider,
    regions: Mapping[str, str],
    authorize: Callable[[str], Callable[[], Mapping[str, str]]],
    account: Callable[[Client, str, str], Account],
) -> Place:
    """Return the place. Raises PlaceError when the node cannot be understood.

    ``authorize`` gets the token, ``account`` the client, the provider's region and what the node calls its account.
    """
    assert isinstance(configuration, Configuration)
    c = configuration
    region = region_of(c, regions, provider.name)
    try:
        client = Client(provider, authorize(c.token), base=c.endpoint, breaker=breaker)
    except ApiError as error:
        raise PlaceError(str(error)) from None
    return HostedPlace(name, cloud, account(client, region, c.account), c.room)
