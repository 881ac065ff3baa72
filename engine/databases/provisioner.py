"""Provisions the shards that name a provider instead of a url, and keeps where they are, sealed.

Nothing here ever removes a database: a shard that is taken out of the repository keeps its data until a person deletes
it at the provider.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from automator67.engine.apis.client import ApiError, Client
from automator67.engine.apis.keeper import LOOK_SECONDS, Desk, Done, Keeper, Used
from automator67.engine.apis.keepers import Configuration, Keepers, token_of
from automator67.engine.breaker import Breaker, Breakers
from automator67.engine.databases.neon import PROVIDER as NEON
from automator67.engine.databases.neon import NeonAccount
from automator67.engine.databases.supabase import PROVIDER as SUPABASE
from automator67.engine.databases.supabase import SupabaseAccount
from automator67.engine.desired import Desired, Node

log = logging.getLogger("automator67.databases")

KINDS = frozenset({"neon", "supabase"})
SOON_SECONDS = 5.0
NEON_REGIONS = {"eu": "aws-eu-central-1", "us": "aws-us-east-2", "asia": "aws-ap-southeast-1"}
SUPABASE_REGIONS = {"eu": "eu-central-1", "us": "us-east-1", "asia": "ap-southeast-1"}
Names = frozenset[str]
"""Databases as ``FILE-SHARD``."""


class Account(Protocol):
    """An account that makes databases."""

    def ensure(self, name: str) -> str:
        """Return the connection string of a database, making that first; empty while it is not ready."""

    def used(self, name: str) -> Used | None:
        """Return what was used of a database that is there, None where the provider does not tell. Raises ApiError."""

    def close(self) -> None:
        """Let go of the connection."""


class Urls(Protocol):
    """Where connection strings are kept, sealed."""

    def get(self, name: str) -> str:
        """Return a connection string, empty when there is none. Raises ApiError when it cannot be opened."""

    def put(self, name: str, url: str) -> None:
        """Keep a connection string. Raises ApiError when it cannot be written."""


def wanted(desired: Desired) -> Mapping[str, Names]:
    """Return by node the databases that shards want of it. Pure."""
    found: dict[str, set[str]] = {name: set() for name, node in desired.nodes.items() if node.kind in KINDS}
    for group, shard in desired.provided_shards():
        if shard["provider"] in found:
            found[shard["provider"]].add(f"{group}-{shard['name']}")
    return {name: frozenset(names) for name, names in found.items()}


def provision(cloud: str, account: Account, urls: Urls, want: Names) -> Done:
    """Make what is wanted and is not there, wake what was paused; keep where each is. Raises ApiError."""
    coming, counted = [], []
    for name in sorted(want):
        url = account.ensure(f"a67-{cloud}-{name}")
        if not url:
            coming.append(f"database {name} is being made or woken")
            continue
        if url != urls.get(name):
            urls.put(name, url)
            log.info("database %s is ready", name)
        if (used := account.used(f"a67-{cloud}-{name}")) is not None:
            counted.append(used)
    return Done(tuple(coming), SOON_SECONDS if coming else LOOK_SECONDS, together(counted))


def together(counted: Sequence[Used]) -> Used | None:
    """Return what an account's databases used: all that was sent counts, but each has storage of its own. Pure."""
    if not counted:
        return None
    return Used(sum(u.egress for u in counted), max(u.storage for u in counted), counted[0].period)


class Provisioner:
    """All database accounts of the cloud; used from the thread of the passes."""

    def __init__(self, desk: Desk, breakers: Breakers, urls: Urls, password: Callable[[str], str]) -> None:
        """``password(name)`` is always the same for a name, and nobody else can know it."""
        self._desk, self._breakers, self._urls, self._password = desk, breakers, urls, password
        self._keepers: Keepers[Names] = Keepers(desk, self._keeper)

    def follow(self, desired: Desired, secret: Callable[[str], bytes]) -> None:
        """Follow a commit. ``secret`` returns the value of a secret by its name, or raises ApiError."""
        want = wanted(desired)
        self._keepers.only(set(want))
        for name, names in want.items():
            node = desired.nodes[name]
            self._keepers.keep(name, partial(_configuration, desired.settings.name, node, secret), names)

    def close(self) -> None:
        """Stop all; the databases stay."""
        self._keepers.only(set())

    def _keeper(self, name: str, configuration: Configuration) -> Keeper[Names]:
        account = account_of(configuration, self._password, self._breakers.before(f"node/{name}", f"node {name}"))
        cloud = configuration[0]
        return Keeper(name, lambda want: provision(cloud, account, self._urls, want), account.close, self._desk)


def _configuration(cloud: str, node: Node, secret: Callable[[str], bytes]) -> Configuration:
    d = node.document
    if "token" not in d:
        raise ApiError("it has no token: write token: {secret: NAME}")
    token = token_of(secret, str(d["token"]["secret"]))
    return cloud, node.kind, node.region, str(d.get("account", "")), str(d.get("endpoint", "")), token


def account_of(configuration: Configuration, password: Callable[[str], str], breaker: Breaker) -> Account:
    """Return the account of a node. Raises ApiError."""
    _, kind, region, account, endpoint, token = configuration
    header = {"Authorization": f"Bearer {token}"}
    if kind == "neon":
        client = Client(NEON, lambda: header, base=endpoint, breaker=breaker)
        return NeonAccount(client, NEON_REGIONS.get(region or "eu", region), account)
    if not account:
        raise ApiError("Supabase needs the slug of the organisation: write account: SLUG")
    client = Client(SUPABASE, lambda: header, base=endpoint, breaker=breaker)
    return SupabaseAccount(client, account, SUPABASE_REGIONS.get(region or "eu", region), password)
