"""Accounts at providers for tests: a place, its stand-in, and what a test wants to be there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from automator67.engine.apis.client import Client
from automator67.engine.places.cloudrun.account import PROVIDER as CLOUD_RUN
from automator67.engine.places.cloudrun.account import CloudRunAccount
from automator67.engine.places.converge import Shaped, converge, same_attempt
from automator67.engine.places.hosted.login import bearer
from automator67.engine.places.hosted.place import HostedPlace
from automator67.engine.places.koyeb.account import PROVIDER as KOYEB
from automator67.engine.places.koyeb.account import KoyebAccount
from automator67.engine.places.protocol import Act, Opened, Seen, Unit
from automator67.engine.places.render.account import PROVIDER as RENDER
from automator67.engine.places.render.account import RenderAccount
from automator67.engine.places.report import drifts_of
from tests.support.cloudrun_api import CloudRunApi
from tests.support.koyeb_api import KoyebApi
from tests.support.render_api import RenderApi
from tests.support.standin import Reached, StandIn


class Clock:
    """A time that only moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Api(Protocol):
    """What the stand-ins have in common for tests."""

    standin: StandIn
    outcome: Callable[[str], str]
    good: str
    """The outcome of a deploy that went well."""
    bad: str
    """The outcome of one that did not."""
    busy: str
    """The outcome of one that goes on."""

    def images(self) -> Mapping[str, str]:
        """Return by name of service the image that it is set to run."""

    def add_foreign(self, name: str) -> None:
        """Add a service that is not ours."""

    def change_by_hand(self, name: str) -> None:
        """Give a service another image."""


def unit(app: str = "blog", rev: str = "r1", attempt: int = 1, **message: Any) -> Unit:
    """Return a unit of one copy."""
    health = {"kind": "http", "target": "/healthz", "port": 8080, "interval": 10.0, "timeout": 2.0}
    usual = {
        "image": "docker.io/ana/blog:1",
        "env": {"GREETING": "hello"},
        "port": 8080,
        "health": health,
        "command": [],
    }
    return Unit(app, rev, attempt, (0,), usual | message)


@dataclass
class World:
    """A place before a stand-in, with a time of its own."""

    kind: str
    api: Api
    place: HostedPlace
    clock: Clock
    secrets: Opened = field(default_factory=lambda: Opened({"TOKEN": "s3cret-value"}))

    def turn(self, *wanted: Unit) -> list[Act]:
        """Look and act once, as the runner does; return what was done."""
        seen = self.place.observe()
        shaped = [Shaped(u, self.place.shape(u, self.secrets), self.secrets) for u in same_attempt(wanted, seen)]
        acts = list(converge(shaped, seen, drifts_of(shaped, seen, self.place.differences, set())))
        for act in acts:
            self.place.act(act)
        return acts

    def settle(self, *wanted: Unit) -> Seen:
        """Turn until there is nothing to do, and return what is there then."""
        for _ in range(6):
            if not self.turn(*wanted):
                return self.place.observe()
        raise AssertionError("it never comes to rest")


def _render(name: str, account: int) -> World:
    api, clock = RenderApi(), Clock()
    api.standin.clock = clock
    client = Client(RENDER, bearer("rnd_test"), transport=Reached(api.standin), clock=clock)
    place = HostedPlace(name, "home", RenderAccount(client, "frankfurt", f"tea-{account}", clock), (100.0, 2**40))
    return World("render", api, place, clock)


def _koyeb(name: str, account: int) -> World:
    api, clock = KoyebApi(), Clock()
    api.standin.clock = clock
    client = Client(KOYEB, bearer("koyeb_test"), transport=Reached(api.standin), clock=clock)
    return World("koyeb", api, HostedPlace(name, "home", KoyebAccount(client, "fra"), (100.0, 2**40)), clock)


def _cloudrun(name: str, account: int) -> World:
    api, clock = CloudRunApi(), Clock()
    api.standin.clock = clock
    client = Client(CLOUD_RUN, bearer("google_test"), transport=Reached(api.standin), clock=clock)
    place = HostedPlace(name, "home", CloudRunAccount(client, "ana-1", "europe-west1"), (100.0, 2**40))
    return World("cloudrun", api, place, clock)


WORLDS: Mapping[str, Callable[[str, int], World]] = {"render": _render, "koyeb": _koyeb, "cloudrun": _cloudrun}
"""By kind: makes the world of a node's name and the number of an account."""
