"""Keeps a runner for every declared node that is a place, with the configuration of the newest commit."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from automator67.engine.breaker import Breaker, Breakers
from automator67.engine.circuit import Policy
from automator67.engine.desired import Node
from automator67.engine.places.cloudrun import adapter as cloudrun
from automator67.engine.places.hosted import login
from automator67.engine.places.koyeb import adapter as koyeb
from automator67.engine.places.protocol import Place, PlaceError
from automator67.engine.places.render import adapter as render
from automator67.engine.places.runner import Desk, Runner
from automator67.engine.places.swarm import adapter as swarm
from automator67.engine.places.swarm.place import POLICY

Secret = Callable[[str], bytes]
"""Returns the value of a secret by its name. Raises PlaceError."""
CLOSE_SECONDS = 5.0

HOSTED = Policy()


@dataclass(frozen=True, slots=True)
class Adapter:
    """How a kind of place is made. ``configure`` reads a node and opens its secrets; equal results mean no change.

    ``policy`` is when it is left alone because it fails.
    """

    configure: Callable[[Node, Secret], Hashable]
    make: Callable[[str, str, Hashable, Breaker], Place]
    policy: Policy = HOSTED


ADAPTERS: Mapping[str, Adapter] = {
    "swarm": Adapter(swarm.configure, swarm.make, POLICY),
    "render": Adapter(login.configure, render.make),
    "koyeb": Adapter(login.configure, koyeb.make),
    "cloudrun": Adapter(login.configure, cloudrun.make),
}
"""By the ``kind`` of a node."""


@dataclass(slots=True)
class _Running:
    runner: Runner
    configuration: tuple[str, Hashable]


class Fleet:
    """All places of the cloud; used from the thread of the passes, ``wake`` and ``place`` from any."""

    def __init__(self, desk: Desk, breakers: Breakers, adapters: Mapping[str, Adapter] = ADAPTERS) -> None:
        self._desk, self._breakers = desk, breakers
        self._adapters = adapters
        self._running: dict[str, _Running] = {}

    def follow(self, cloud: str, nodes: Mapping[str, Node], secret: Secret) -> None:
        """Begin to run places that are new, begin anew where the configuration changed, leave those that are gone.

        A place whose node is no longer declared is kept until nothing of ours is there.
        """
        for name, node in nodes.items():
            if node.kind in self._adapters:
                self._follow(cloud, node, secret)
            elif name in self._running:
                self._leave(name)
        for name in [n for n, r in self._running.items() if n not in nodes and r.runner.empty]:
            self._leave(name)

    def _follow(self, cloud: str, node: Node, secret: Secret) -> None:
        adapter = self._adapters[node.kind]
        before = self._running.get(node.name)
        try:
            configuration = (cloud, adapter.configure(node, secret))
            if before is not None and before.configuration == configuration:
                return
            breaker = self._breakers.before(f"node/{node.name}", f"node {node.name}", adapter.policy)
            place = adapter.make(node.name, *configuration, breaker)
        except PlaceError as error:
            # What runs with the configuration of before goes on; where there is none, the node says why.
            if before is None:
                self._desk.unreachable(node.name, str(error))
            return
        if before is not None:
            self._leave(node.name)
        runner = Runner(place, self._desk)
        self._running = {**self._running, node.name: _Running(runner, configuration)}
        runner.start()

    def _leave(self, name: str) -> None:
        runner = self._running[name].runner
        self._running = {n: r for n, r in self._running.items() if n != name}
        runner.close()
        # Two runners of one place would act against each other.
        runner.join(CLOSE_SECONDS)

    def wake(self, node: str) -> None:
        """Let a place look soon: its desired state changed. Other nodes are ignored."""
        running = self._running.get(node)
        if running is not None:
            running.runner.wake()

    def place(self, node: str) -> Place | None:
        """Return the place that a node is, None for one that has an agent."""
        running = self._running.get(node)
        return running.runner.place if running is not None else None

    def close(self) -> None:
        """Stop all runners; what runs at the places stays."""
        for running in self._running.values():
            running.runner.close()
        for running in self._running.values():
            running.runner.join(CLOSE_SECONDS)
