"""What an account's node says of it: where its services run, and what lets us in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from automator67.engine.desired import Node
from automator67.engine.places.protocol import PlaceError

MANY = 1000.0
"""How many services an account has room for where no number is known."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A node's account. ``endpoint`` is empty for the usual one; ``room``: cores and bytes for all services."""

    token: str = field(repr=False)
    region: str = ""
    account: str = ""
    endpoint: str = ""
    room: tuple[float, int] = (0.0, 0)


def configure(node: Node, secret: Callable[[str], bytes]) -> Configuration:
    """Return a node's configuration with its token opened. Raises PlaceError."""
    name = str(node.document["token"]["secret"])
    try:
        token = secret(name).decode().strip()
    except UnicodeDecodeError:
        raise PlaceError(f"token: secret {name} is not text") from None
    if not token:
        raise PlaceError(f"token: secret {name} is empty")
    tier = node.tier
    count = tier.services if tier is not None and tier.services is not None else MANY
    cpu, memory = (tier.cpu or 0.0, tier.memory or 0) if tier is not None else (0.0, 0)
    document = node.document
    return Configuration(
        token, node.region, str(document.get("account", "")), str(document.get("endpoint", "")),
        (cpu * count, int(memory * count)),
    )  # fmt: skip


def bearer(token: str) -> Callable[[], Mapping[str, str]]:
    """Return what gives the header of a bearer token (RFC 6750). Raises PlaceError for what cannot be one."""
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise PlaceError("the token has characters that no token has")
    headers = {"Authorization": f"Bearer {token}"}
    return lambda: headers


def region_of(configuration: Configuration, regions: Mapping[str, str], provider: str) -> str:
    """Return the provider's region for what the node says; ``regions`` are its own ones by common names.

    Raises PlaceError for a region that the provider does not have.
    """
    asked = configuration.region or next(iter(regions))
    if asked in regions:
        return regions[asked]
    if asked in regions.values():
        return asked
    raise PlaceError(
        f"{provider} has no region {asked}: write one of {', '.join(sorted({*regions, *regions.values()}))}"
    )
